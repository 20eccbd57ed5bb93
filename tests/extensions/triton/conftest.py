"""A small model to package, and Triton's own message for its configurations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("adaptrt_triton", reason="needs adaptrt-triton")
onnx = pytest.importorskip("onnx", reason="the model is made with onnx")

DESCRIPTOR = Path(__file__).parents[2] / "fixtures" / "triton_model_config.binpb"


@pytest.fixture(scope="session")
def model_config() -> Any:
    """The class ``inference.ModelConfig``, from the descriptor in tritonclient 2.73 (compared in test_server.py)."""
    from google.protobuf import descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(DESCRIPTOR.read_bytes())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


@pytest.fixture
def classifier(tmp_path: Path) -> Callable[..., Path]:
    """``classifier("1:8")``: an ONNX file, the mean color of each image, [B, 3, 8, 8] to [B, 3]."""
    from onnx import TensorProto, helper

    from adaptrt.specs import (
        METADATA_KEY,
        DecoderSpec,
        ImageTransform,
        InputSpec,
        ModelSpec,
        OutputSpec,
        parse_batch,
    )

    def make(batch: str = "1:2:8", *, image: bool = True) -> Path:
        size: int | str = int(batch) if batch.isdecimal() else "batch"
        graph = helper.make_graph(
            [helper.make_node("ReduceMean", ["images"], ["y"], axes=[2, 3], keepdims=0)],
            "net",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [size, 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, 3])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        spec = ModelSpec(
            (InputSpec.image(8, 8, batch=parse_batch(batch)),),
            outputs=(OutputSpec("y", (size, 3)),),
            task="classify" if image else "values",
            image=ImageTransform(resize="stretch") if image else None,
            decoder=DecoderSpec("classify", {"top_k": 3, "probabilities": True}) if image else None,
            labels=("red", 'deep "blue"', "green"),
        )
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
        path = tmp_path / "net.onnx"
        onnx.save(model, str(path))
        return path

    return make
