"""A small convolutional network as an ONNX file: layers of each kind that quantization treats differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from adaptrt import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputGroup, OutputSpec
from adaptrt.specs import METADATA_KEY

SIDE, WIDTH = 16, 16
SPEC = ModelSpec(
    inputs=(InputSpec.image(SIDE, SIDE, batch=Dim(1, 2, 4, "batch")),),
    outputs=(OutputSpec("logits", ("batch", 4), groups=(OutputGroup("logits", "logits"),)),),
    task="classify",
    image=ImageTransform(resize="stretch"),
    decoder=DecoderSpec("classify"),
    labels=("red", "green", "blue", "gray"),
)


def write_convnet(path: Path, spec: ModelSpec | None = SPEC, *, opset: int = 17, dead: bool = False) -> Path:
    """``images`` through ``stem`` and ``body`` (convolutions), ``mixer`` (MatMul), ``head`` (Gemm, transposed) to ``logits``.

    ``body`` adds to what it reads; its second output channel has no weights. The logits are about the mean of each color, and
    somewhat more than that of all, so that images of one color are recognized. ``dead``: ``body`` reads zeros.
    """
    rng = np.random.default_rng(0)
    stem = np.zeros((WIDTH, 3, 1, 1), np.float32)
    for channel in range(WIDTH):
        stem[channel, channel % 3] = 1 + channel / 8
    body = (rng.normal(size=(WIDTH, WIDTH, 3, 3)) / 80).astype(np.float32)
    body[1] = 0
    mixer = (np.eye(WIDTH) + rng.normal(size=(WIDTH, WIDTH)) / 50).astype(np.float32)
    head = np.zeros((4, WIDTH), np.float32)
    for color in range(3):
        head[color, color::3] = 1 / stem[color::3, color, 0, 0].sum()
    head[3] = 0.45 * head.sum(0)
    values: dict[str, Any] = {
        "stem.weight": -stem if dead else stem, "stem.bias": np.zeros(WIDTH, np.float32), "body.weight": body,
        "mixer.weight": mixer, "head.weight": head, "head.bias": np.zeros(4, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["images", "stem.weight", "stem.bias"], ["stem"], name="stem"),
        helper.make_node("Relu", ["stem"], ["relu"], name="relu"),
        helper.make_node("Conv", ["relu", "body.weight"], ["body"], name="body", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["relu", "body"], ["added"], name="add"),
        helper.make_node("GlobalAveragePool", ["added"], ["pool"], name="pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], name="flatten"),
        helper.make_node("MatMul", ["flat", "mixer.weight"], ["mixed"], name="mixer"),
        helper.make_node("Gemm", ["mixed", "head.weight", "head.bias"], ["logits"], name="head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "convnet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if spec is not None:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json(), "kept": "as it is"})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


COLORS = ((220, 40, 30), (30, 210, 50), (20, 60, 230), (128, 128, 128))


def write_images(folder: Path, count: int, seed: int = 0, light: float = 1.0) -> list[Path]:
    """Noisy images of one color each, in turn; in folders named after their class. A ``light`` below 1 makes them dark."""
    from adaptrt.vision.images import write_image

    rng = np.random.default_rng(seed)
    paths = []
    for index in range(count):
        label = SPEC.labels[index % 4]
        (folder / label).mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(COLORS[index % 4]) + rng.normal(0, 12, (24, 32, 3))
        path = folder / label / f"{seed}-{index:03}.png"
        paths.append(write_image(path, np.clip(light * pixels, 0, 255).astype(np.uint8)))
    return paths
