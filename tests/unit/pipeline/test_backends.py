"""A backend of another distribution: asked for by name, built, verified, loaded and inspected by its suffix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from copying_backend import Copying
from small_graphs import SPEC, write_graph

import adaptrt
from adaptrt.errors import BuildError, PluginError, ShapeError, UsageError, VerificationError
from adaptrt.pipeline.artifacts import Artifact, open_artifact
from adaptrt.pipeline.cache import conversion_key
from adaptrt.pipeline.preflight import unread_options
from adaptrt.pipeline.sessions import open_session
from adaptrt.request import Request
from adaptrt.specs import BuildOptions, ModelSpec, precision_named
from adaptrt.specs.backends import BACKENDS

pytestmark = pytest.mark.usefixtures("tiny")


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
    assert (record.summary, record.facts, record.record) == ("copied", {"made by": "a copy"}, {"copied": True})
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
    with pytest.raises(UsageError, match='which to="onnx" does not include'):
        convert(to="onnx", output="out/shop.copy.bin")


def test_a_record_that_is_not_data_names_its_backend(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    build = copying.build
    monkeypatch.setattr(copying, "build", lambda request: replace(build(request), record={"at": object()}))
    with pytest.raises(PluginError, match="The record of backend 'copying' is not JSON data"):
        convert(verify="none", html=False)


@pytest.mark.parametrize(
    ("to", "titles"), [("copying", "Copying does"), ("onnx", "ONNX Runtime does"), ("onnx,copying", "Copying does")]
)
def test_an_option_that_no_backend_reads_is_refused(copying: Copying, to: str, titles: str) -> None:
    with pytest.raises(UsageError, match=rf"{titles} not support workspace of BuildOptions") as caught:
        convert(to=to, build_options=BuildOptions(workspace=1 << 20))
    assert caught.value.hint == (
        'Remove it, or build with TensorRT (to="engine") or TensorRT-RTX (to="rtx"). Supported build options: none.'
    )
    assert copying.requests == []


def test_an_option_that_one_of_two_backends_reads_is_noted(copying: Copying) -> None:
    request = Request("detector", "tiny", to=("copying", "rtx"), build=BuildOptions(workspace=1 << 20))
    assert unread_options(request) == ["--workspace applies to TensorRT-RTX; Copying has no such option"]
    assert unread_options(replace(request, to=("rtx",))) == []


def test_a_backend_is_opened_with_the_options_that_it_reads(
    copying: Copying, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "lib.so"
    request = Request("detector", "tiny", build=BuildOptions(device=1, plugin_libs=(str(library),)))
    path = write_graph(tmp_path / "copy.bin")
    artifact = Artifact(name="copy", path=path, precision=precision_named("fp32"), backend=copying)
    open_artifact(artifact, request).close()
    assert (copying.opened[-1].device, copying.opened[-1].plugin_libs) == (None, ())
    monkeypatch.setattr(copying, "build_options", ("device", "plugin_libs"), raising=False)
    monkeypatch.setattr(copying, "check_options", lambda options, target: None, raising=False)
    open_artifact(artifact, request).close()
    assert (copying.opened[-1].device, copying.opened[-1].plugin_libs) == ("cuda:1", (library,))


def test_a_conversion_is_kept_for_the_machine_that_its_backend_names(
    copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> tuple[str | None, str]:
        session, settings = open_session("tiny")
        return conversion_key(Request("detector.pt", "tiny", to=("copying",)), session, settings)

    Path("detector.pt").write_bytes(b"weights")
    assert key() == (None, "Copying does not declare which machine properties its files depend on")
    cpu = {"cpu": "one"}
    monkeypatch.setattr(copying, "machine", lambda target, options: cpu, raising=False)
    first = key()[0]
    assert first == key()[0] is not None
    cpu["cpu"] = "another"
    assert key()[0] not in (first, None)


def test_the_shapes_of_a_build_are_checked_by_its_backends(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_graph(Path("small.onnx"))
    wide = "images=1x3x16x17"
    with pytest.raises(ShapeError, match="Input 'images': axis 3 is fixed at 16 in the graph, not 17"):
        adaptrt.build(path, to="copying", shape=wide)
    with pytest.raises(ShapeError, match="Profile 0, input 'images': axis 3 is fixed at 8 in the graph, not 16"):
        BACKENDS.find("tensorrt").check_shapes(SPEC, {"images": (-1, 3, 16, 8)})  # type: ignore[attr-defined]

    def refuse(spec: ModelSpec, inputs: Mapping[str, tuple[int, ...]]) -> None:
        raise ShapeError(f"Copying does not take {inputs['images']}.")

    monkeypatch.setattr(copying, "check_shapes", refuse, raising=False)
    with pytest.raises(ShapeError, match=r"Copying does not take \(-1, 3, 16, 16\)"):
        adaptrt.build(path, to="copying")
