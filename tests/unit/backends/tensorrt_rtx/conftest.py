"""Small graphs for the real TensorRT-RTX, which builds without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt.backends.tensorrt.build.precision_report import PrecisionReport
from adaptrt.backends.tensorrt.manifest import Manifest
from adaptrt.backends.tensorrt_rtx.backend import BACKEND
from adaptrt.specs import BuildOptions, InputSpec, ModelSpec, OutputSpec, parse_shape, precision_named
from adaptrt.specs.backends import BackendRequest

onnx = pytest.importorskip("onnx", reason="onnx makes the files")

DYNAMIC = "1..8@4x4x16x16"


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has wheels for Linux on x86-64 only")


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., Path]:
    """Write two convolutions of 36,864 weights each, with a Relu between: ``network("fp16", batch=2)``."""

    def write(precision: str = "fp32", batch: int | str = "batch") -> Path:
        path = tmp_path / "model.onnx"
        onnx.save(two_convolutions(precision, batch), str(path))
        return path

    return write


@pytest.fixture
def operator(tmp_path: Path) -> Callable[..., Path]:
    """Write a graph of one operator: its inputs by name with their shapes, constants by name."""

    def write(
        name: str,
        inputs: dict[str, Sequence[int]],
        constants: dict[str, np.ndarray[Any, Any]],
        result: int = onnx.TensorProto.INT64,
        **attributes: Any,
    ) -> Path:
        helper = onnx.helper
        graph = helper.make_graph(
            [helper.make_node(name, [*inputs, *constants], ["out"], name="/the/node", **attributes)],
            "net",
            [helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, shape) for key, shape in inputs.items()],
            [helper.make_tensor_value_info("out", result, None)],
            [onnx.numpy_helper.from_array(value, key) for key, value in constants.items()],
        )
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8), str(path))
        return path

    return write


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., BackendRequest]:
    """What the pipeline asks the backend for."""

    def make(
        path: Path,
        shapes: Sequence[str] = (DYNAMIC,),
        precision: str = "fp32",
        options: BuildOptions | None = None,
        inputs: dict[str, str] | None = None,
        **more: Any,
    ) -> BackendRequest:
        given = {"images": tuple(shapes)} if inputs is None else {name: (shape,) for name, shape in inputs.items()}
        spec = ModelSpec(
            tuple(InputSpec(name, tuple(map(parse_shape, profiles))) for name, profiles in given.items()),
            (OutputSpec("out"),),
        )
        return BackendRequest(
            onnx_path=path,
            output=tmp_path / "best.rtx.engine",
            spec=spec,
            precision=precision_named(precision),
            target=BACKEND.targets["rtx"],
            options=options or BuildOptions(),
            **{"cache": False, **more},
        )

    return make


def two_convolutions(precision: str, batch: int | str) -> Any:
    import ml_dtypes

    helper, from_array = onnx.helper, onnx.numpy_helper.from_array
    dtype = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}.get(precision, np.dtype(np.float32))
    number = helper.np_dtype_to_tensor_dtype(dtype)
    random = np.random.default_rng(3)
    weights = [random.normal(size=shape).astype(np.float32) for shape in ((64, 4, 12, 12), (64, 64, 3, 3))]
    nodes, constants, current = [], [], "images"
    if number != onnx.TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [current], ["cast"], name="/cast", to=number))
        current = "cast"
    if precision == "int8":
        constants += [from_array(np.float32(0.05), "scale"), from_array(np.int8(0), "zero")]
    for index, values in enumerate(weights):
        kernel = f"kernel{index}"
        if precision == "int8":
            constants.append(from_array(np.clip(values / 0.05, -127, 127).astype(np.int8), f"int8.{kernel}"))
            nodes += [
                helper.make_node("QuantizeLinear", [current, "scale", "zero"], [f"q{index}"], name=f"/q{index}"),
                helper.make_node("DequantizeLinear", [f"q{index}", "scale", "zero"], [f"d{index}"], name=f"/d{index}"),
                helper.make_node("DequantizeLinear", [f"int8.{kernel}", "scale", "zero"], [kernel], name=f"/w{index}"),
            ]
            current = f"d{index}"
        else:
            constants.append(from_array(values.astype(dtype), kernel))
        nodes.append(helper.make_node("Conv", [current, kernel], [f"conv{index}"], name=f"/conv{index}"))
        current = f"conv{index}"
        if index == 0:
            nodes.append(helper.make_node("Relu", [current], ["relu"], name="/relu"))
            current = "relu"
    if number != onnx.TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [current], ["out"], name="/back", to=onnx.TensorProto.FLOAT))
    else:
        nodes[-1].output[0] = "out"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [batch, 4, 16, 16])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def manifest_for() -> Callable[..., Manifest]:
    """A manifest with these fields, and others that do not matter."""

    def make(**fields: Any) -> Manifest:
        spec = ModelSpec((InputSpec("images", (parse_shape("1x3x8x8"),)),))
        plain: dict[str, Any] = {
            "plan_sha256": "", "plan_bytes": 0, "onnx": "model.onnx", "onnx_sha256": "", "cuda": "", "driver": None,
            "precision": "fp32", "spec": spec, "precision_report": PrecisionReport("fp32"),
        }  # fmt: skip
        return Manifest(**{**plain, **fields})

    return make
