"""Preprocessing in the graph gives the values of NumPy, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from adaptrt import Dim, GraphError, ImageTransform, InputSpec, ModelSpec
from adaptrt.graph.preprocessing import embed_preprocessing, preprocessing_alone
from adaptrt.vision.transforms import normalize_pixels, pixels_of, transform_image

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TRANSFORMS: dict[str, dict[str, Any]] = {
    "divided": {},
    "bgr": {"colors": "bgr"},
    "mean and std": IMAGENET,
    "bytes": {"scale": 1.0, "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375), "colors": "bgr"},
    "multiplied": {"scale": 0.0078},
}


def run(model: onnx.ModelProto, **inputs: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_pixel_value_is_that_of_numpy(name: str) -> None:
    transform = ImageTransform(**TRANSFORMS[name], embedded=True)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    values = normalize_pixels(pixels, transform)
    np.testing.assert_array_equal(run(preprocessing_alone(transform, 3), pixels=pixels), values)
    np.testing.assert_array_equal(pixels_of(values, transform), pixels)


@pytest.mark.parametrize("channels", [1, 5])
def test_other_numbers_of_channels(channels: int) -> None:
    transform = ImageTransform(mean=(0.5,), std=(0.25,), embedded=True)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, channels), np.uint8)
    np.testing.assert_array_equal(
        run(preprocessing_alone(transform, channels), pixels=pixels), normalize_pixels(pixels, transform)
    )


def test_an_image_becomes_the_pixels_that_the_graph_normalizes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    for resize in ("letterbox", "stretch", "crop", "square"):
        whole, meta = transform_image(image, ImageTransform(resize=resize, **IMAGENET), (64, 64))
        transform = ImageTransform(resize=resize, **IMAGENET, embedded=True)
        pixels, same = transform_image(image, transform, (64, 64))
        assert pixels.shape == (64, 64, 3)
        assert same == meta
        np.testing.assert_array_equal(normalize_pixels(pixels[None], transform)[0], whole)


def network(*, in_branch: bool = False, returns_input: bool = False) -> onnx.ModelProto:
    """Twice the image, [batch, 3, 8, 8]; in a branch of an If, if asked."""
    shape = ["batch", 3, 8, 8]
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    found = helper.make_tensor_value_info("found", TensorProto.FLOAT, shape)
    nodes = [helper.make_node("Add", ["images", "images"], ["found"], name="add")]
    if in_branch:
        branches = {
            key: helper.make_graph(
                [helper.make_node("Add", ["images", "images"], ["sum"])],
                key,
                [],
                [helper.make_tensor_value_info("sum", TensorProto.FLOAT, shape)],
            )
            for key in ("then_branch", "else_branch")
        }
        true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
        nodes = [
            helper.make_node("Constant", [], ["always"], value=true),
            helper.make_node("If", ["always"], ["found"], name="if", **branches),
        ]
    outputs = [found, given] if returns_input else [found]
    graph = helper.make_graph(nodes, "twice", [given], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def spec_of_pixels() -> ModelSpec:
    shape = (Dim(1, 2, 4, "batch"), Dim.fixed(8), Dim.fixed(8), Dim.fixed(3))
    return ModelSpec(inputs=(InputSpec("images", (shape,), "uint8"),), image=ImageTransform(embedded=True))


@pytest.mark.parametrize("in_branch", [False, True])
def test_a_network_takes_pixels_afterwards(tmp_path: Path, in_branch: bool) -> None:
    spec = spec_of_pixels()
    assert spec.image is not None
    embed_preprocessing(network(in_branch=in_branch), tmp_path / "net.onnx", spec)
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        8,
        8,
        3,
    ]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(run(model, images=pixels), 2 * normalize_pixels(pixels, spec.image))


def test_a_graph_that_returns_its_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="returns its input"):
        embed_preprocessing(network(returns_input=True), tmp_path / "net.onnx", spec_of_pixels())
