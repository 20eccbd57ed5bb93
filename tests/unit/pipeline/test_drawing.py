"""The drawn graph: blocks by module, and what their colors show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from small_convnet import write_convnet
from small_graphs import write_graph

import adaptrt
from adaptrt import ModelError, UsageError
from adaptrt.backends.onnxruntime.backend import OnnxRuntime
from adaptrt.pipeline.layers.drawing import Drawing, DrawingRequest, draw_graph
from adaptrt.rendering.drawing import graph_image, render_drawing_page, render_svg


def drawn(path: Path, **changes: Any) -> Drawing:
    return draw_graph(DrawingRequest(file=path, **changes))


def operators(drawing: Drawing) -> set[str]:
    return {node.operator for block in drawing.blocks for node in block.nodes}


def test_every_node_that_depends_on_the_input_is_in_one_block(net: Path) -> None:
    found = drawn(net)
    nodes = [node.name for block in found.blocks for node in block.nodes]
    assert len(nodes) == len(set(nodes))
    assert {"stem", "body", "add"} <= set(nodes)
    assert [block.title for block in found.blocks if block.kind == "input"] == ["images"]
    assert all(source != target for source, target in found.edges)
    assert all(block.precisions == {"fp32": len(block.nodes)} for block in found.blocks if block.nodes)


def test_layers_that_read_dequantized_values_compute_in_int8(tmp_path: Path) -> None:
    """QuantizeLinear and DequantizeLinear compute in no precision, and what is between stays float."""
    found = drawn(write_graph(tmp_path / "small.onnx", quantized=True))
    precisions = {node.operator: node.precision for block in found.blocks for node in block.nodes}
    assert precisions["Conv"] == precisions["MatMul"] == "int8"
    assert precisions["Relu"] == "fp32"
    assert precisions["QuantizeLinear"] == precisions["DequantizeLinear"] == ""
    conv = next(block for block in found.blocks if any(node.operator == "Conv" for node in block.nodes))
    assert conv.precision == "int8"


def test_colors_by_time_cover_the_whole_run(net: Path) -> None:
    found = drawn(net, color="time", runs=2)
    assert found.seconds > 0
    assert found.elsewhere < 0.5 * found.seconds
    assert max(found.blocks, key=lambda block: block.seconds).nodes
    assert "ONNX Runtime" in found.notes[0] or "onnxruntime" in found.notes[0]


def test_colors_by_error_are_those_of_the_comparison(net: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(net)
    weight = next(one for one in model.graph.initializer if one.name.startswith("body"))
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    onnx.save(model, "other.onnx")
    compared = adaptrt.compare(net, "other.onnx")
    Path("layers.json").write_text(compared.to_json())
    found = drawn(Path("other.onnx"), color="error", comparison=Path("layers.json"))
    assert found.reference == "net.onnx"
    used = {node.name: node.row.used for block in found.blocks for node in block.nodes if node.row is not None}
    assert used["stem"] == 0.0
    assert used["body"] > 1.0
    same = drawn(net, color="error", comparison=Path("layers.json"))
    assert same.reference == "other.onnx"
    assert {box.style for box in graph_image(same).boxes} >= {"error5"}


def test_a_comparison_of_other_files_is_rejected(net: Path) -> None:
    Path("layers.json").write_text(adaptrt.compare(net, str(write_convnet(Path("copy.onnx")))).to_json())
    other = write_convnet(Path("third.onnx"))
    with pytest.raises(UsageError, match=r"compares net\.onnx with copy\.onnx, not third\.onnx"):
        drawn(other, color="error", comparison=Path("layers.json"))
    with pytest.raises(UsageError, match="requires a comparison"):
        DrawingRequest(file=net, color="error")
    with pytest.raises(ModelError, match="cannot be read"):
        drawn(net, color="error", comparison=Path("absent.json"))


class Recorded(OnnxRuntime):
    """A backend that records layers, as TensorRT does: fused ones, an opaque part, and a conversion of formats."""

    def __init__(self, layers: Sequence[tuple[str, str]]) -> None:
        self.layers = layers

    def layers_of(self, path: Path) -> Sequence[tuple[str, str]]:
        return self.layers

    def open(self, path: Path, options: Any) -> Any:
        times = {name: 0.002 for name, _ in self.layers}
        return SimpleNamespace(
            layer_times=lambda inputs, runs: times,
            backend="TensorRT", close=lambda: None, run=None, spec=None, warnings=(),
        )  # fmt: skip


def test_layers_of_a_built_file_are_found_by_the_nodes_in_their_names(
    net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = [node.name for block in drawn(net).blocks for node in block.nodes]
    place = {name: index for index, name in enumerate(order)}
    first, last = sorted(("body", "add"), key=place.__getitem__)
    layers = [
        ("stem + PWN(relu)", "int8"),
        (f"{{ForeignNode[{first}...{last}]}}", ""),
        ("Reformatting CopyNode for Output Tensor 0 to nothing", "fp32"),
    ]
    monkeypatch.setattr("adaptrt.pipeline.layers.drawing.require_backend", lambda _: Recorded(layers))
    nodes = {node.name: node for block in drawn(net).blocks for node in block.nodes}
    assert nodes["stem"].precision == nodes["relu"].precision == "int8"
    assert nodes["body"].precision == ""
    timed = drawn(net, color="time")
    nodes = {node.name: node for block in timed.blocks for node in block.nodes}
    inside = order[place[first] : place[last] + 1]
    assert nodes["stem"].seconds == pytest.approx(0.001)
    assert [nodes[name].seconds for name in inside] == pytest.approx([0.002 / len(inside)] * len(inside))
    assert timed.elsewhere == pytest.approx(0.002)
    assert any("equal shares" in note for note in timed.notes)


def test_the_files_are_whole_and_load_nothing(net: Path) -> None:
    found = drawn(net)
    found.blocks[0].title = '<script>&"'
    svg = render_svg(found)
    root = ElementTree.fromstring(svg)
    assert len(root.findall(".//{http://www.w3.org/2000/svg}title")) == len(found.blocks)
    page = render_drawing_page(found)
    for text in (svg, page):
        assert "<script>" not in text
        assert not re.search(r"(src|href)=\"(?!#)", text)
    assert all(
        f'href="#block{index}"' in page and f'id="block{index}"' in page for index in range(1, len(found.blocks) + 1)
    )
    assert all(node.name in page for block in found.blocks for node in block.nodes)


def test_the_title_and_the_whole_legend_lie_inside_the_image(net: Path) -> None:
    """The legend of a narrow graph ran out of the image, so most of its colors had no meaning."""
    found = drawn(net, color="time", runs=1)
    found.title = "a-long-name-of-a-model" * 4
    image = graph_image(found)
    root = ElementTree.fromstring(render_svg(found))
    space = "{http://www.w3.org/2000/svg}"
    title, *colors = (one for one in root.findall(f"{space}text") if "start" in str(one.get("class")))
    assert [one.text for one in colors] == [name for name, _ in image.legend]
    assert len(colors) == 6
    graph = root.find(f"{space}g")
    assert graph is not None
    top = float(str(graph.get("transform")).split()[1].rstrip(")"))
    for one in (title, *colors):
        assert float(str(one.get("x"))) + 6 * len(str(one.text)) <= float(str(root.get("width")))
        assert float(str(one.get("y"))) < top
    assert len({(one.get("x"), one.get("y")) for one in colors}) == len(colors)
    assert float(str(root.get("height"))) >= top + image.height
