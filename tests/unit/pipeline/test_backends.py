"""A backend of another distribution: asked for by name, built, verified, loaded and inspected by its suffix."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from copying_backend import BACKEND, Copying

import adaptrt
from adaptrt.errors import BuildError, UsageError, VerificationError
from adaptrt.report import EngineRecord
from adaptrt.specs.backends import BACKENDS, BackendRequest, Built
from adaptrt.specs.registry import forget_declared


@pytest.fixture
def copying(tiny: str, fake_distribution: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Copying]:
    fake_distribution("adaptrt-copying", {"adaptrt.backends": {"copying": "copying_backend:BACKEND"}})
    forget_declared()
    for name, value in (("requests", []), ("missing", None), ("shift", 0.0)):
        monkeypatch.setattr(BACKEND, name, value)
    yield BACKEND
    BACKENDS._found.pop("copying", None)
    monkeypatch.undo()
    forget_declared()


def convert(**options: Any) -> adaptrt.Report:
    return adaptrt.convert("detector", adapter="tiny", **{"verify": "quick", "to": "copying", **options})


def test_what_was_asked_for_is_written_and_verified(copying: Copying, image: Path) -> None:
    report = convert(image=image)
    assert sorted(path.name for path in Path().glob("detector*")) == [
        "detector.copy.bin",
        "detector.report.html",
        "detector.report.json",
    ]
    assert report.link(4).status == report.link(5).status == "passed"
    assert {check.kind for check in report.link(4).checks} == {"samples", "batch"}
    (record,) = report.artifacts
    assert (record.name, record.backend, record.precision, record.status) == ("copy.bin", "copying", "fp32", "passed")
    assert (record.summary, record.record) == ("copied", {"copied": True})
    assert "a note" in report.notes
    assert adaptrt.Report.from_json(Path("detector.report.json").read_bytes()).artifacts == report.artifacts
    assert set(report.images[0].predictions) >= {"eager", "copying"}


def test_the_graph_holds_the_precision_where_the_backend_says_so(copying: Copying) -> None:
    report = convert(to="onnx,copying", precision="fp16", target="8")
    assert copying.requests[0].onnx_path.name == "model.fp16.onnx"
    assert copying.requests[0].precision.name == "fp16"
    assert {Path(record.path).name for record in report.files.values()} == {
        "detector.onnx",
        "detector.fp16.onnx",
        "detector.copy.bin",
    }


def test_a_file_that_computes_something_else_fails_link_4(copying: Copying) -> None:
    copying.shift = 1.0
    with pytest.raises(VerificationError, match="Link 4"):
        convert()
    assert not list(Path().glob("detector.copy*"))


def test_unavailable_and_asked_for_is_refused(copying: Copying) -> None:
    copying.missing = "nothing to copy with is installed"
    with pytest.raises(BuildError, match=r"No \.copy\.bin file can be built: nothing to copy with"):
        convert()


def test_the_suffix_finds_it(copying: Copying, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(verify="none", output="out/shop.copy.bin", to=())
    assert sorted(path.name for path in Path("out").glob("shop*.[bo]*")) == ["shop.copy.bin", "shop.onnx"]
    with adaptrt.load("out/shop.copy.bin") as model:
        assert model.runner.backend == "copying"
        assert len(model(image)) == 1
    from adaptrt.cli.inspect_model import describe

    described = json.loads(describe(Path("out/shop.copy.bin")).to_json())
    assert (described["kind"], described["inputs"][0]["name"]) == ("a copy", "images")


def test_an_output_of_another_backend_is_refused(copying: Copying) -> None:
    with pytest.raises(UsageError, match=r"--to onnx leaves out"):
        convert(to="onnx", output="out/shop.copy.bin")


def test_of_two_engines_each_keeps_its_record(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    class Second(Copying):
        name = "second"
        suffixes = (".second.bin",)

    def built(suffix: str, gpu: str) -> Any:
        def build(request: BackendRequest) -> Built:
            request.output.write_bytes(request.onnx_path.read_bytes())
            return Built(files={suffix: request.output}, record=EngineRecord("11", gpu, "8.6", "fp32"))

        return build

    second, names = Second(), BACKENDS.names()
    monkeypatch.setattr(second, "build", built(".second.bin", "two"), raising=False)
    monkeypatch.setattr(copying, "build", built(".copy.bin", "one"))
    monkeypatch.setattr(BACKENDS, "names", lambda: [*names, "second"])
    monkeypatch.setitem(BACKENDS._found, "second", second)
    report = convert(to="copying,second", verify="none", html=False)
    assert report.engine is not None
    assert report.engine.gpu == "one"
    assert [getattr(record.record, "gpu", None) for record in report.artifacts] == [None, "two"]
