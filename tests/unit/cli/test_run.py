"""``adaptrt run``: tensors inside a file, as arrays and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_convnet import write_images

from adaptrt.pipeline.layers.run import TILES, drawn


def test_tensors_inside_are_those_of_the_network(adaptrt: Any, net: Path) -> None:
    (image,) = write_images(Path("images"), 1)
    result = adaptrt("run", net, "--image", image, "--outputs", "relu,add,logits", "-o", "out.npz")
    assert result.code == 0, result.err
    with np.load("out.npz") as found:
        arrays = dict(found)
    assert list(arrays) == ["relu", "added", "logits"]
    assert arrays["relu"].min() >= 0
    # the rest of the network, from the arrays inside
    import onnx
    from onnx import numpy_helper

    weights = {one.name: numpy_helper.to_array(one) for one in onnx.load(net).graph.initializer}
    flat = arrays["added"].mean((2, 3)) @ weights["mixer.weight"]
    np.testing.assert_allclose(arrays["logits"], flat @ weights["head.weight"].T + weights["head.bias"], rtol=1e-5)
    assert "out.npz" in result.out


def test_without_names_the_outputs_are_described(adaptrt: Any, net: Path) -> None:
    result = adaptrt("run", net, "--samples", "2", "--json")
    assert result.code == 0, result.err
    (tensor,) = result.json["tensors"]
    assert (tensor["name"], tensor["shape"], tensor["dtype"], tensor["not_finite"]) == ("logits", [2, 4], "float32", 0)
    assert tensor["min"] <= tensor["mean"] <= tensor["max"]


def test_tensors_are_drawn(adaptrt: Any, net: Path) -> None:
    from adaptrt.vision.images import read_image

    result = adaptrt("run", net, "--outputs", "relu,mixed", "-o", "maps", "--json")
    assert result.json["written"] == ["maps/relu.png", "maps/mixed.png"]
    image = read_image("maps/relu.png", 3)
    assert image.shape == (4 * 34 - 2, 4 * 34 - 2, 3)  # 16 channels of 16 x 16, twice as large
    assert adaptrt("run", net, "--outputs", "relu", "-o", "relu.png").code == 0
    refused = adaptrt("run", net, "--outputs", "relu,mixed", "-o", "relu.png")
    assert refused.code == 2
    assert "folder" in refused.err
    assert adaptrt("run", net, "-o", "out.txt").code != 0


@pytest.mark.parametrize("shape", [(), (3,), (1, 7), (1, 5, 4), (1, 70, 3, 9), (1, 2, 3, 4, 5)])
def test_every_shape_is_drawn(shape: tuple[int, ...]) -> None:
    image = drawn(np.full(shape, np.nan))
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert drawn(np.zeros((1, 1000, 2, 2))).shape == drawn(np.zeros((1, TILES, 2, 2))).shape


def test_an_unknown_tensor_is_answered_with_the_nearest(adaptrt: Any, net: Path) -> None:
    result = adaptrt("run", net, "--outputs", "bodyy")
    assert result.code == 2
    assert "body" in result.err
    assert "adaptrt inspect net.onnx --graph" in result.err
