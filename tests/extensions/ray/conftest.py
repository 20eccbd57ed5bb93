"""A small model, images of several sizes, and Ray on two CPUs of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import HANG

pytest.importorskip("adaptrt_ray", reason="needs adaptrt-ray")
pytest.importorskip("ray", reason="needs Ray, in an environment of its own: pip install 'adaptrt-ray[ray]'")
onnx = pytest.importorskip("onnx", reason="the model is made with onnx")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mean color of each image, as scores of three classes."""
    from onnx import TensorProto, helper

    from adaptrt.specs import METADATA_KEY, DecoderSpec, ImageTransform, InputSpec, ModelSpec, OutputSpec, parse_batch

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["images"], ["y"], axes=[2, 3], keepdims=0)],
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
    )
    spec = ModelSpec(
        (InputSpec.image(8, 8, batch=parse_batch("1:8")),),
        outputs=(OutputSpec("y", ("batch", 3)),),
        task="classify",
        image=ImageTransform(resize="stretch"),
        decoder=DecoderSpec("classify", {"top_k": 3, "probabilities": True}),
        labels=("red", "green", "blue"),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(made, {METADATA_KEY: spec.to_json()})
    path = tmp_path_factory.mktemp("model") / "best.onnx"
    onnx.save(made, str(path))
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images; the sixth cannot be read."""
    from adaptrt.vision.images import write_image

    folder = tmp_path_factory.mktemp("drawn") / "images"
    folder.mkdir()
    draw = np.random.default_rng(5)
    for index in range(24):
        pixels = draw.integers(0, 256, (32 + index, 48, 3)).astype(np.uint8)
        write_image(folder / f"{index:06d}.jpg", pixels)
    (folder / "000005.jpg").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Ray, the one at RAY_ADDRESS or one that is started for the tests; jobs use it and leave it running."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for what in ("READY", "HEALTH"):  # of the HTTP proxy of Ray Serve: on a busy machine, 5 seconds are too few
        os.environ[f"RAY_SERVE_PROXY_{what}_CHECK_TIMEOUT_S"] = str(HANG)
    import ray

    from adaptrt_ray import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "STARTS", 30)  # a hang, however busy the machine is
        with cluster.connected(ray, "", 2):
            yield ray
