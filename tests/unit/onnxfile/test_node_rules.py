"""Which nodes stay float32: the rule, on small graphs."""

from __future__ import annotations

import pytest

from adaptrt.errors import UsageError
from adaptrt.onnxfile.node_rules import decoding_nodes, kept_float32, matching_nodes, pixel_outputs
from adaptrt.onnxfile.reader import Node, OnnxFile
from adaptrt.specs import InputSpec, ModelSpec, OutputGroup, OutputSpec


def node(operator: str, name: str, inputs: str, output: str) -> Node:
    return Node(name, operator, tuple(inputs.split()), (output,))


# a head as in YOLO: a distribution over distances (its expected value is a convolution with 16 weights), and scores
HEAD = [
    node("Conv", "backbone", "images w0", "x"),
    node("Conv", "box", "x w1", "raw"),
    node("Conv", "cls", "x w2", "logits"),
    node("Softmax", "dfl/softmax", "raw", "p"),
    node("Conv", "dfl/conv", "p arange", "distance"),
    node("Shape", "shape", "x", "size"),
    node("Range", "range", "size", "grid"),
    node("Add", "decode/add", "distance grid", "cells"),
    node("Mul", "decode/mul", "cells stride", "boxes"),
    node("Sigmoid", "scores", "logits", "probabilities"),
    node("Concat", "join", "boxes probabilities", "output0"),
]
WEIGHTS = {"w0": 4096, "w1": 65536, "w2": 65536, "arange": 16, "stride": 8400}


def spec(*units: str) -> ModelSpec:
    groups = tuple(OutputGroup(unit, unit) for unit in units)  # type: ignore[arg-type]
    return ModelSpec((InputSpec.image(64, 64),), (OutputSpec("output0", groups=groups),))


def test_decoding_goes_back_to_the_last_trained_layers() -> None:
    assert decoding_nodes(HEAD, ["output0"], WEIGHTS) == [
        "dfl/softmax",
        "dfl/conv",
        "range",
        "decode/add",
        "decode/mul",
        "scores",
        "join",
    ]


def test_a_product_of_two_activations_is_a_layer() -> None:
    nodes = [node("Relu", "a", "x", "q"), node("MatMul", "attention", "q q", "o"), node("Mul", "b", "o s", "y")]
    assert decoding_nodes(nodes, ["y"], {"s": 1}) == ["b"]


def test_only_outputs_with_pixels_are_decoded() -> None:
    assert pixel_outputs(spec("scores")) == []
    assert pixel_outputs(spec("pixels", "scores")) == ["output0"]
    assert pixel_outputs(None) == []
    file = OnnxFile(nodes=HEAD, weights=WEIGHTS)
    assert kept_float32(file, spec("scores"), []) == []
    assert "decode/mul" in kept_float32(file, spec("pixels"), [])


def test_patterns_are_searched_in_names_and_compared_with_operators() -> None:
    assert matching_nodes(HEAD, ["^decode/"]) == ["decode/add", "decode/mul"]
    assert matching_nodes(HEAD, ["Conv"]) == ["backbone", "box", "cls", "dfl/conv"]
    assert kept_float32(OnnxFile(nodes=HEAD, weights=WEIGHTS), spec("scores"), ["box"]) == ["box"]


def test_patterns_that_find_nothing_or_are_none() -> None:
    with pytest.raises(UsageError, match="'LayerNorm' does not match any node") as caught:
        matching_nodes(HEAD, ["LayerNorm"])
    assert "Softmax" in str(caught.value.hint)
    with pytest.raises(UsageError, match="is not a valid regular expression"):
        matching_nodes(HEAD, ["("])
