"""Small ONNX files for backends: a convolution and a matrix product, in float32 or quantized, with a spec inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from adaptrt import Dim, InputSpec, ModelSpec, OutputGroup, OutputSpec
from adaptrt.specs import METADATA_KEY

SIDE = 16
# what XML and JSON have to escape
LABELS = ('<a> & "b"', "c'd\n\té", "e")
SPEC = ModelSpec(
    inputs=(InputSpec.image(SIDE, SIDE, batch=Dim(1, 2, 4, "batch")),),
    outputs=(
        OutputSpec("logits", ("batch", 5), groups=(OutputGroup("logits", "logits"),)),
        OutputSpec("maps", ("batch", 8, SIDE, SIDE)),
    ),
    labels=LABELS,
)


def write_graph(
    path: Path, *, quantized: bool = False, levels: int = 127, seed: int = 0, spec: ModelSpec | None = SPEC
) -> Path:
    """``images`` to ``logits`` and ``maps``, the second another name of what is inside; the batch is dynamic.

    ``levels`` are the steps of a quantized image between 0 and 1.
    """
    rng = np.random.default_rng(seed)
    weights = {
        "w": rng.normal(size=(8, 3, 3, 3)).astype(np.float32) / 5,
        "v": rng.normal(size=(8, 5)).astype(np.float32),
    }
    nodes: list[Any] = []
    values = dict(weights)

    def operand(name: str, scale: float) -> str:
        """The operand itself, or what is left of it after 8 bits."""
        if not quantized:
            return name
        values[f"{name}_scale"] = np.float32(scale)
        values[f"{name}_zero"] = np.int8(0)
        parameters = [f"{name}_scale", f"{name}_zero"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *parameters], [f"{name}_dq"]))
        return f"{name}_dq"

    inputs = [operand("images", 1 / levels), operand("w", float(np.abs(weights["w"]).max()) / 127)]
    nodes.append(helper.make_node("Conv", inputs, ["conv"], name="conv", pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Relu", ["conv"], ["relu"]))
    nodes.append(helper.make_node("Identity", ["relu"], ["maps"]))
    nodes.append(helper.make_node("GlobalAveragePool", ["relu"], ["pool"]))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"]))
    inputs = [operand("flat", 1 / 127), operand("v", float(np.abs(weights["v"]).max()) / 127)]
    nodes.append(helper.make_node("MatMul", inputs, ["logits"], name="head"))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5]),
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["batch", 8, SIDE, SIDE]),
        ],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if spec is not None:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


# images, and bytes that are no image: what a uint8 input is before a network casts it
LOGIC = ModelSpec(
    inputs=(*SPEC.inputs, InputSpec("bytes", ((Dim(1, 2, 4, "batch"), Dim.fixed(2)),), "uint8")),
    outputs=(OutputSpec("chosen", ("batch", 3, SIDE, SIDE)), OutputSpec("raised", ("batch", 2))),
)


def write_logic(path: Path) -> Path:
    """``images`` and ``bytes`` to ``chosen`` and ``raised``, through truth values that are combined, moved and cast."""
    node = helper.make_node
    images, raw, chosen, raised = (
        helper.make_tensor_value_info(name, kind, ["batch", *shape])
        for name, kind, shape in (
            ("images", TensorProto.FLOAT, (3, SIDE, SIDE)),
            ("bytes", TensorProto.UINT8, (2,)),
            ("chosen", TensorProto.FLOAT, (3, SIDE, SIDE)),
            ("raised", TensorProto.FLOAT, (2,)),
        )
    )
    nodes = [
        node("Greater", ["images", "low"], ["above"]),
        node("Less", ["images", "high"], ["below"]),
        node("And", ["above", "below"], ["between"]),
        node("Reshape", ["between", "flat"], ["moved"]),
        node("Reshape", ["moved", "back"], ["inside"]),
        node("Not", ["inside"], ["outside"]),
        node("Where", ["outside", "images", "low"], ["kept"]),
        node("Cast", ["inside"], ["ones"], to=TensorProto.FLOAT),
        node("Add", ["kept", "ones"], ["chosen"]),
        node("Cast", ["bytes"], ["numbers"], to=TensorProto.FLOAT),
        node("Add", ["numbers", "low"], ["raised"]),
    ]
    values = {
        "low": np.float32(0.25),
        "high": np.float32(0.75),
        "flat": np.array([0, -1], np.int64),
        "back": np.array([0, 3, SIDE, SIDE], np.int64),
    }
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "logic", [images, raw], [chosen, raised], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def some_images(batch: int, seed: int = 1) -> dict[str, Any]:
    return {"images": np.random.default_rng(seed).random((batch, 3, SIDE, SIDE), dtype=np.float32)}
