"""Which nodes stay float32: the rule, on small graphs."""

from __future__ import annotations

import pytest

from adaptrt.errors import UsageError
from adaptrt.onnxfile.node_rules import coordinate_nodes, decoding_nodes, kept_float32, matching_nodes, pixel_outputs
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


# a position from a trained layer, the cells around it, and how much each counts
SAMPLING = [
    node("MatMul", "offsets", "tokens w0", "raw"),
    node("Mul", "place", "raw extent", "x"),
    node("Floor", "floor", "x", "left"),
    node("Cast", "index", "left", "cell"),
    node("MatMul", "values", "tokens w1", "maps"),
    node("GatherElements", "read", "maps cell", "near"),
    node("Sub", "distance", "x left", "share"),
    node("Less", "inside", "left columns", "valid"),
    node("Mul", "counts", "share valid", "part"),
    node("Sigmoid", "attention", "raw", "weight"),
    node("Mul", "weighted", "part weight", "factor"),
    node("Mul", "sample", "near factor", "y"),
]
TWO_STAGE = [
    node("Conv", "features", "images w0", "maps"),
    node("Conv", "box", "maps w1", "deltas"),
    node("Conv", "cls", "maps w2", "logits"),
    node("Sigmoid", "scores", "logits", "odds"),
    Node("best", "TopK", ("odds", "k"), ("top", "order")),
    node("Add", "decode", "deltas anchors", "boxes"),
    node("GatherElements", "chosen", "boxes order", "rois"),
    node("Slice", "corner", "rois starts ends", "side"),
    node("Log", "log", "side", "size"),
    node("Floor", "level", "size", "at"),
    node("Equal", "own", "at one", "mine"),
    node("Conv", "smooth", "maps w1", "fine"),
    node("Relu", "relu", "fine", "active"),
    node("RoiAlign", "align", "active rois images", "found"),
    node("Mul", "selected", "found mine", "parts"),
    node("Gemm", "fc", "parts w3", "y"),
]
LAYERS = dict.fromkeys(("w0", "w1", "w2", "w3"), 4096)


def test_positions_that_indices_are_computed_from_are_coordinates() -> None:
    """And what depends on them alone; neither what is read there, nor what is weighted with it."""
    found = coordinate_nodes(SAMPLING, LAYERS)
    assert found == ["place", "floor", "index", "distance", "inside", "counts"]
    assert kept_float32(OnnxFile(nodes=SAMPLING, weights=LAYERS), None, []) == found


def test_rois_are_coordinates() -> None:
    """With RoiAlign, which has one type for all its inputs, and the level of each RoI; not its features, nor the scores that rank."""
    assert coordinate_nodes(TWO_STAGE, LAYERS) == ["decode", "chosen", "corner", "log", "level", "own", "align"]


def test_chosen_indices_are_no_coordinates() -> None:
    nodes = [
        node("Sigmoid", "scores", "logits", "odds"),
        Node("best", "TopK", ("odds", "k"), ("top", "order")),
        node("Cast", "cast", "ids", "rows"),
        node("Gather", "embed", "table rows", "tokens"),
        node("Mul", "scale", "tokens two", "scaled"),
        node("Gather", "chosen", "boxes order", "y"),
    ]
    assert coordinate_nodes(nodes, {"table": 4096, "two": 1}) == ["cast"]


@pytest.mark.parametrize("scope", ["adaptrt_nms/", "model/adaptrt_nms/", "model/adaptrt_nms_1/"])
def test_nms_of_the_network_is_included_as_a_whole(scope: str) -> None:
    nodes = [
        node("Conv", "layer", "images w0", "raw"),
        node("Sigmoid", "odds", "raw", "scores"),
        node("MatMul", f"{scope}MatMul", "scores over", "hits"),
        node("Less", f"{scope}Less", "hits half", "free"),
        node("Mul", "kept", "scores free", "y"),
    ]
    assert decoding_nodes(nodes, [], LAYERS) == ["odds", f"{scope}MatMul", f"{scope}Less"]
