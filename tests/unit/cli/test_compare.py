"""``adaptrt compare``: the table, the first difference, exit codes, and what is built to see inside."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from copying_backend import Copying
from onnx import numpy_helper
from small_convnet import write_convnet

from adaptrt.errors import OutputError
from adaptrt.onnxfile.hashing import onnx_sha256
from adaptrt.pipeline.layers.polygraphy import read_results
from adaptrt.specs.backend_parts import BuildOrigin
from adaptrt.specs.build import BuildOptions


def weaken(path: Path, weights: str, name: str) -> Path:
    model = onnx.load(path)
    found = next(one for one in model.graph.initializer if one.name == weights)
    found.CopyFrom(numpy_helper.from_array(0.5 * numpy_helper.to_array(found), weights))
    for node in model.graph.node:
        if node.name == "body":
            entry = node.metadata_props.add()
            entry.key, entry.value = "adaptrt.source", "net.py:2"
            node.name = "backbone/body/Conv"
    onnx.save(model, name)
    return Path(name)


def test_the_first_difference_is_shown_with_its_line(adaptrt: Any, net: Path) -> None:
    Path("net.py").write_text("import torch\nx = x + self.body(x)\n")
    net = Path(weaken(net, "stem.bias", "net.onnx"))
    other = weaken(net, "body.weight", "other.onnx")
    result = adaptrt("compare", net, other)
    assert result.code == 9, result.err
    for line in (
        "  tensor    body",
        "  node      backbone/body/Conv (Conv)",
        "  module    backbone.body",
        "  line      net.py:2  x = x + self.body(x)",
    ):
        assert line in result.out
    assert result.out.count("\n>") == 6
    assert adaptrt("compare", net, net).code == 0
    assert adaptrt("compare", net, other, "-q").out == ""


def test_the_page_shows_every_tensor_over_depth(adaptrt: Any, net: Path) -> None:
    other = weaken(net, "body.weight", "<b>other.onnx")
    result = adaptrt("compare", net, other, "--html", "layers.html")
    assert result.code == 9
    assert "Written: layers.html" in result.out
    page = Path("layers.html").read_text()
    assert page.count("<circle") == page.count("<tr class") == 8
    assert page.count('class="bad') == 6 + 6  # dots and rows
    assert "<b>other" not in page
    assert "&lt;b&gt;other.onnx" in page
    assert "http://" not in page
    assert "<script" not in page


def test_a_built_file_is_built_again_to_see_inside(adaptrt: Any, net: Path, copying: Copying) -> None:
    """The other ONNX file is what the built file was made from, so the difference lies before the build."""
    other = weaken(net, "mixer.weight", "other.onnx")
    Path("other.copy.bin").write_bytes(other.read_bytes())
    result = adaptrt("compare", net, "other.copy.bin", "--at-once", "2", "--json")
    assert result.code == 9, result.err
    (pair,) = result.json["pairs"]
    assert pair["search"] == "bisect"
    assert [row["name"] for row in pair["rows"] if row["used"] is None or row["used"] > 1] == ["mixed", "logits"]
    assert pair["builds"] == len(copying.requests) == 2
    assert any("keeps Copying from fusing" in note for note in pair["notes"])
    assert copying.requests[0].precision.name == "fp32"


def test_how_a_file_was_built_is_taken_from_its_record(
    adaptrt: Any, net: Path, copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = BuildOrigin(
        onnx="net.onnx",
        precision="tf32",
        options=BuildOptions(optimization_level=1, plugin_libs=("evil.so",)),
        keep_fp32=("x",),
    )
    monkeypatch.setattr(Copying, "origin_of", lambda self, path: origin, raising=False)
    Path("engine.copy.bin").write_bytes(net.read_bytes())
    result = adaptrt("compare", net, "engine.copy.bin", "--outputs", "all", "--json")
    assert result.code == 0, result.err
    (pair,) = result.json["pairs"]
    assert (pair["builds"], pair["precision"], len(pair["rows"])) == (1, "tf32", 8)
    (request,) = copying.requests
    assert (request.precision.name, request.options.optimization_level, request.keep_fp32) == ("tf32", 1, ("x",))
    assert request.options.plugin_libs == ()  # code, which only --plugin-lib names


def test_an_onnx_file_that_was_replaced_since_the_build(
    adaptrt: Any, net: Path, copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is inside the engine would be that of another model."""
    origin = BuildOrigin(onnx="other.onnx", precision="fp32", options=BuildOptions(), onnx_sha256=onnx_sha256(net))
    monkeypatch.setattr(Copying, "origin_of", lambda self, path: origin, raising=False)
    Path("engine.copy.bin").write_bytes(net.read_bytes())
    words = ("compare", net, "engine.copy.bin", "--outputs", "all", "--json")
    Path("other.onnx").write_bytes(net.read_bytes())
    assert not [note for note in adaptrt(*words).json["pairs"][0]["notes"] if "identical" in note]
    weaken(net, "mixer.weight", "other.onnx")
    (doubt,) = [note for note in adaptrt(*words).json["pairs"][0]["notes"] if "identical" in note]
    assert doubt.startswith("other.onnx is not identical to the file that engine.copy.bin was built from")
    words += ("--onnx", "other.onnx")
    assert not [note for note in adaptrt(*words).json["pairs"][0]["notes"] if "identical" in note]


def test_without_the_onnx_file_it_has_to_be_named(adaptrt: Any, net: Path, copying: Copying) -> None:
    Path("engine.copy.bin").write_bytes(net.read_bytes())
    result = adaptrt("compare", net, "engine.copy.bin")
    assert result.code == 2
    assert "--onnx" in result.err
    assert adaptrt("compare", net, "engine.copy.bin", "--onnx", net).code == 0


def test_results_of_polygraphy_are_written_and_compared(adaptrt: Any, net: Path) -> None:
    result = adaptrt("compare", net, net, "--save-inputs", "in.json", "--save-results", "out.json", "-q")
    assert result.code == 0, result.err
    assert set(read_results(Path("out.json"))["net.onnx"][0]) >= {"stem", "logits"}
    other = weaken(net, "head.weight", "other.onnx")
    result = adaptrt("compare", "out.json", other, "--inputs", "in.json", "--json")
    assert result.code == 9, result.err
    assert [row["name"] for row in result.json["pairs"][0]["rows"] if row["used"] > 1] == ["logits"]
    result = adaptrt("compare", "out.json", other)
    assert result.code == 2
    assert "--inputs inputs.json" in result.err


def test_eager_is_compared_module_by_module(adaptrt: Any, tiny: str, image: Path) -> None:
    assert adaptrt("convert", "--adapter", "tiny", "detector", "--verify", "none", "--to", "onnx", "-q").code == 0
    missing = adaptrt("compare", "eager", "detector.onnx")
    assert missing.code == 2
    command = shlex.split(missing.err[missing.err.index("adaptrt compare") :])
    result = adaptrt(*command[1:], "--image", image, "--json")
    assert result.code == 0, result.err
    (pair,) = result.json["pairs"]
    inside = [row for row in pair["rows"] if not row["output"]]
    assert inside, pair["notes"]
    pairs = {row["reference"]: row["module"] for row in inside}
    assert pairs["features.0.act"] == "features.0.act"
    assert pairs["features.0.norm"] == "features.0.conv"  # folded into it
    assert all(row["used"] <= 1 for row in pair["rows"])


def test_a_preprocessed_input_is_used_as_it_is(adaptrt: Any, net: Path) -> None:
    np.savez("in.npz", images=np.zeros((2, 3, 16, 16), np.float32))
    result = adaptrt("compare", net, net, "--inputs", "in.npz", "--json")
    assert result.json["inputs"] == "in.npz"
    assert result.json["pairs"][0]["rows"][0]["shape"] == [2, 16, 16, 16]


def test_an_unknown_tensor_is_looked_up_in_the_file_that_is_compared(adaptrt: Any, net: Path) -> None:
    """Not in another one of the same name."""
    Path("other").mkdir()
    write_convnet(Path("other/net.onnx"))
    result = adaptrt("compare", net, "other/net.onnx", "--outputs", "bodyy")
    assert result.code == 2
    assert "other/net.onnx has no tensor, node or module 'bodyy'." in result.err
    assert "adaptrt inspect other/net.onnx --graph" in result.err


def test_folders_of_results_are_created_or_refused_before_the_work(adaptrt: Any, net: Path) -> None:
    files = {"--html": "page/layers.html", "--save-inputs": "in/put.json", "--save-results": "out/results.json"}
    words = [word for pair in files.items() for word in pair]
    assert adaptrt("compare", net, net, *words).code == 0
    assert all(map(Path.is_file, map(Path, files.values())))
    Path("folder").mkdir()
    Path("broken.onnx").touch()
    for flag in files:
        for name in (f"{net}/results", "folder"):
            result = adaptrt("compare", "broken.onnx", net, flag, name)
            assert result.code == OutputError.exit_code
            assert f"with {flag}" in result.err
