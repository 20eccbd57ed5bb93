"""Tensors inside a model: matched between two forms, compared, and searched for the first that differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import adaptrt
from adaptrt import LayerComparison, ModelError, UsageError
from adaptrt.graph.tensors import GraphTensor
from adaptrt.pipeline.layers.polygraphy import read_inputs, read_results, write_inputs, write_results
from adaptrt.pipeline.layers.search import bisect
from adaptrt.verify.differences import difference_of

INSIDE = ["stem", "relu", "body", "added", "pool", "flat", "mixed"]


def changed(path: Path, change: Callable[[onnx.ModelProto], object], name: str = "other.onnx") -> Path:
    model = onnx.load(path)
    change(model)
    onnx.save(model, name)
    return Path(name)


def scale_weights(name: str) -> Callable[[onnx.ModelProto], object]:
    def change(model: onnx.ModelProto) -> None:
        found = next(one for one in model.graph.initializer if one.name == name)
        found.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(found), name))

    return change


def rename_everything(model: onnx.ModelProto) -> None:
    """Tensors and nodes, inputs and outputs, as another exporter may name them."""
    names: dict[str, str] = {}
    for node in model.graph.node:
        node.name = f"n{len(names)}"
        for output in node.output:
            names[output] = f"t{len(names)}"
    names["images"] = "pixels"
    for node in model.graph.node:
        node.input[:] = [names.get(one, one) for one in node.input]
        node.output[:] = [names[one] for one in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
    del model.metadata_props[:]


def rows_of(found: LayerComparison) -> dict[str, Any]:
    return {row.name: row for row in found.pairs[0].rows}


def test_the_first_tensor_that_differs_is_where_the_weights_do(net: Path) -> None:
    found = adaptrt.compare(net, changed(net, scale_weights("mixer.weight")))
    (pair,) = found.pairs
    assert (pair.search, [row.name for row in pair.rows]) == ("all", [*INSIDE, "logits"])
    assert pair.first is not None
    assert (pair.first.name, pair.first.node, pair.first.operator) == ("mixed", "mixer", "MatMul")
    assert [row.name for row in pair.rows if row.passed] == INSIDE[:-1]
    row = rows_of(found)["mixed"]
    assert row.relative == pytest.approx(0.5, rel=1e-4)
    assert row.cosine == pytest.approx(1.0, abs=1e-6)
    assert not found.outputs_agree


@pytest.mark.parametrize("weights", ["stem.weight", "body.weight", "mixer.weight", "head.weight"])
def test_a_bisection_ends_where_all_of_them_do(net: Path, weights: str) -> None:
    other = changed(net, scale_weights(weights))
    whole, found = adaptrt.compare(net, other), adaptrt.compare(net, other, outputs="bisect", at_once=1)
    assert found.pairs[0].first is not None
    assert whole.pairs[0].first is not None
    assert found.pairs[0].first.name == whole.pairs[0].first.name
    assert found.pairs[0].search == "bisect"
    assert len(found.pairs[0].rows) < len(whole.pairs[0].rows)


def test_renamed_tensors_are_found_by_how_they_are_computed(net: Path) -> None:
    found = adaptrt.compare(net, changed(net, rename_everything))
    (pair,) = found.pairs
    assert [row.reference for row in pair.rows] == [*INSIDE, "logits"]
    assert "renamed tensors that were found by how they are computed: 7" in pair.notes
    assert all(row.max == 0 for row in pair.rows)


def test_renamed_tensors_behind_other_weights_are_found(net: Path) -> None:
    """The layer that differs is found, not the first output that it changes."""
    renamed = changed(net, rename_everything)
    (pair,) = adaptrt.compare(net, changed(renamed, scale_weights("body.weight"))).pairs
    assert [row.reference for row in pair.rows] == [*INSIDE, "logits"]
    assert pair.first is not None
    assert pair.first.reference == "body"
    adaptrt.build(net, precision="fp16", to="onnx", target="10", verify="none", html=False)
    (pair,) = adaptrt.compare(net, changed(Path("net.fp16.onnx"), rename_everything)).pairs
    assert [row.reference for row in pair.rows] == [*INSIDE, "logits"]
    assert pair.first is None


def test_tensors_without_a_counterpart_are_counted(net: Path) -> None:
    """A graph with another operator: what is computed from it has no counterpart, and may be where the difference begins."""

    def other_activation(model: onnx.ModelProto) -> None:
        rename_everything(model)
        model.graph.node[1].op_type = "Tanh"

    (pair,) = adaptrt.compare(net, changed(net, other_activation)).pairs
    assert [row.reference for row in pair.rows] == ["stem", "logits"]
    assert any(note.startswith("6 of 8 tensors of other.onnx were not found in net.onnx") for note in pair.notes)
    assert not any("were not found" in note for note in adaptrt.compare(net, net).pairs[0].notes)


def test_a_count_as_a_name_is_no_match_by_itself(net: Path) -> None:
    def count(model: onnx.ModelProto, first: int) -> None:
        names = {
            output: str(first + index) for index, node in enumerate(model.graph.node[:-1]) for output in node.output
        }
        for node in model.graph.node:
            node.input[:] = [names.get(one, one) for one in node.input]
            node.output[:] = [names.get(one, one) for one in node.output]
            node.name = ""

    first = changed(net, lambda model: count(model, 1), "first.onnx")
    second = changed(net, lambda model: count(model, 2), "second.onnx")
    (pair,) = adaptrt.compare(first, second).pairs
    assert [(row.name, row.reference) for row in pair.rows[:2]] == [("2", "1"), ("3", "2")]
    assert pair.first is None


def test_limits_are_those_of_the_precision_and_of_the_outputs(net: Path) -> None:
    adaptrt.build(net, precision="fp16", to="onnx", target="10", verify="quick", html=False)
    found = adaptrt.compare(net, "net.fp16.onnx", samples=2)
    (pair,) = found.pairs
    assert (pair.precision, pair.first) == ("fp16", None)
    assert 0 < rows_of(found)["stem"].max < 0.01
    assert pair.aligned == 8
    assert any("rounds to float16" in note for note in pair.notes)
    report = json.loads(Path("net.build.report.json").read_text())
    (link,) = [one for one in report["links"] if one["number"] == 3]
    limits = [check["limit"] for check in link["checks"] if check["name"] == "logits"]
    assert min(limits) / 2 < rows_of(found)["logits"].limit < 2 * max(limits)


def test_names_stand_for_tensors_and_nodes(net: Path) -> None:
    (pair,) = adaptrt.compare(net, net, outputs=["add", "flat"]).pairs
    assert [row.name for row in pair.rows] == ["added", "flat", "logits"]
    with pytest.raises(UsageError, match="no tensor, node or module 'flatt'") as caught:
        adaptrt.compare(net, net, outputs="flatt")
    assert "flat" in str(caught.value.hint)


def test_a_module_of_a_quantized_graph_stands_for_what_it_computes(net: Path) -> None:
    """Not for the same tensor quantized for its readers, which exists in no other file."""
    model = onnx.load(net)
    names = {name: f"/net/{name}/output" for name in ("stem", "relu", "body")}
    for node in model.graph.node:
        node.input[:] = [names.get(one, one) for one in node.input]
        node.output[:] = [names.get(one, one) for one in node.output]
        node.name = names.get(node.name, node.name)
    onnx.save(model, net)
    images = np.random.default_rng(0).random((4, 3, 16, 16), np.float32)
    np.savez("calib.npz", images=images)
    adaptrt.build(net, precision="int8", calib="calib.npz", to="onnx", verify="none", html=False)
    (pair,) = adaptrt.compare(net, "net.int8.onnx", outputs="net.relu,net.body").pairs
    assert [row.name for row in pair.rows] == [names["relu"], names["body"], "logits"]


def test_a_comparison_is_read_back(net: Path) -> None:
    found = adaptrt.compare(net, changed(net, scale_weights("head.weight")))
    found.pairs[0].rows[0].max = float("inf")
    assert LayerComparison.from_json(found.to_json()) == found
    with pytest.raises(ModelError, match="cannot be read"):
        LayerComparison.from_json('{"inputs": 3}')


def test_what_a_comparison_needs_is_said(net: Path) -> None:
    Path("results.json").write_text("{}")
    for files, options, message in (
        ((net,), {}, "at least two forms"),
        ((net, "eager"), {}, "eager is the reference"),
        (("eager", net), {}, "needs adapter and source"),
        (("results.json", net), {}, "does not contain results"),
        ((net, net), {"image": "a.png", "inputs": "b.npz"}, "conflict"),
    ):
        with pytest.raises((UsageError, ModelError), match=message):
            adaptrt.compare(*files, **options)


def chain(*edges: tuple[str, Sequence[str]]) -> list[GraphTensor]:
    return [GraphTensor(name, sources=tuple(sources)) for name, sources in edges]


def test_the_search_follows_the_branch_that_differs() -> None:
    """Two branches of one trunk: only one of the outputs differs, and the trunk is known to agree."""
    left = [(f"a{index}", [f"a{index - 1}" if index else "trunk"]) for index in range(40)]
    right = [(f"b{index}", [f"b{index - 1}" if index else "trunk"]) for index in range(40)]
    tensors = chain(("trunk", ["images"]), *[one for pair in zip(left, right, strict=True) for one in pair])
    asked: list[list[str]] = []

    def judge(names: Sequence[str]) -> dict[str, bool]:
        asked.append(list(names))
        return {name: not (name[0] == "b" and int(name[1:]) >= 23) for name in names}

    inside = [tensor.name for tensor in tensors if tensor.name not in ("a39", "b39")]
    assert bisect(tensors, {"a39": True, "b39": False}, inside, judge, 2) == "b23"
    assert all(name[0] == "b" for names in asked for name in names)
    assert max(map(len, asked)) <= 2
    assert len(asked) <= 5
    assert bisect(tensors, {"a39": True, "b39": True}, inside, judge, 2) is None


def test_the_search_ends_at_an_output_whose_sources_agree() -> None:
    tensors = chain(("a", ["images"]), ("b", ["a"]), ("out", ["b"]))
    assert bisect(tensors, {"out": False}, ["a", "b"], lambda names: dict.fromkeys(names, True), 8) == "out"


def test_figures_of_a_difference() -> None:
    wanted = np.array([3.0, 0.0, 4.0], np.float32)
    found = difference_of(wanted, np.array([3.0, 1.0, 4.0], np.float32))
    assert (found.max, found.mean) == (1.0, pytest.approx(1 / 3))
    assert found.relative == pytest.approx(1 / 5)
    assert found.cosine == pytest.approx(5 / np.sqrt(26))
    assert difference_of(wanted, -wanted).cosine == -1.0
    assert difference_of(wanted, np.array([3.0, np.nan, 4.0])).max == np.inf
    nan = np.array([np.nan, np.inf])
    assert difference_of(nan, nan).max == 0.0
    assert difference_of(np.zeros(2), np.zeros(2)).cosine == 1.0


@pytest.mark.full
def test_results_are_those_that_polygraphy_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    comparator = pytest.importorskip("polygraphy.comparator", reason="its JSON is read and written")
    from polygraphy.json import load_json, save_json

    images = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    write_inputs(Path("inputs.json"), [{"images": images}])
    np.testing.assert_array_equal(load_json("inputs.json")[0]["images"], images)
    write_results(Path("results.json"), {"ours": [{"logits": images}]})
    theirs = comparator.RunResults.load("results.json")
    np.testing.assert_array_equal(theirs["ours"][0]["logits"], images)
    theirs.save("again.json")
    np.testing.assert_array_equal(read_results(Path("again.json"))["ours"][0]["logits"], images)
    save_json([{"images": images}], "saved.json")
    np.testing.assert_array_equal(read_inputs(Path("saved.json"))[0]["images"], images)


@pytest.mark.parametrize("text", ["[", "[]", '{"lst": 3}', '{"lst": [[1]], "polygraphy_class": "RunResults"}', "[3]"])
def test_damaged_files_of_polygraphy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(text)
    with pytest.raises((ModelError, UsageError)):
        read_results(path)
    with pytest.raises((ModelError, UsageError)):
        read_inputs(path)
