"""Conversions that come from the cache: when they do, when they must not, and what they leave."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import adaptrt
from adaptrt import Report
from adaptrt.pipeline.cache import conversion_key
from adaptrt.pipeline.convert import convert
from adaptrt.pipeline.observer import Observer
from adaptrt.pipeline.sessions import open_session
from adaptrt.request import Request
from adaptrt.store.cache import Store
from adaptrt.store.source_files import SourceFiles

Install = Callable[..., str]


@pytest.fixture
def checkpoint(tiny: str) -> Path:
    """A file whose name says which net it is; the tiny adapter does not look into it."""
    path = Path("detector.pt")
    path.write_bytes(b"weights")
    return path


def run(source: Any = "detector.pt", **options: Any) -> Report:
    return convert(Request(str(source), "tiny", **{"verify": "none", **options}))


def key(**options: Any) -> str | None:
    session, settings = open_session("tiny")
    return conversion_key(Request(**{"source": "detector.pt", "adapter": "tiny", **options}), session, settings)[0]


def test_the_second_time_it_is_there(checkpoint: Path) -> None:
    first = run()
    onnx, written = Path("detector.onnx").read_bytes(), json.loads(Path("detector.report.json").read_text())
    Path("detector.onnx").unlink()
    second = run()
    assert Path("detector.onnx").read_bytes() == onnx
    assert first.cached == ""
    assert second.cached
    assert [stage.name for stage in second.stages] == ["cache"]
    assert second.files == first.files
    assert second.spec == first.spec
    again = json.loads(Path("detector.report.json").read_text())
    assert {**again, "cached": "", "stages": written["stages"]} == written


def test_under_another_name(checkpoint: Path) -> None:
    run()
    report = run(output=Path("out/shop.onnx"))
    assert report.cached
    assert sorted(path.name for path in Path("out").iterdir()) == ["shop.onnx", "shop.report.json"]
    assert report.files["onnx"].path == "out/shop.onnx"


def test_without_the_cache(checkpoint: Path) -> None:
    run()
    assert not run(cache=False).cached
    entries = Store().entries()
    run(cache=False, opset=17)
    assert Store().entries() == entries


def test_the_page_is_made_again_where_it_tells_of_other_names(checkpoint: Path) -> None:
    adaptrt.convert("detector.pt", adapter="tiny", verify="none")
    page = Path("detector.report.html").read_bytes()
    Path("detector.report.html").unlink()
    assert adaptrt.convert("detector.pt", adapter="tiny", verify="none").cached
    assert Path("detector.report.html").read_bytes() == page
    adaptrt.convert("detector.pt", adapter="tiny", verify="none", output="shop.onnx")
    assert b"shop.onnx" in Path("shop.report.html").read_bytes()
    adaptrt.convert("detector.pt", adapter="tiny", verify="none", output="bare.onnx", html=False)
    assert not Path("bare.report.html").exists()


@pytest.mark.full
def test_the_key_holds_what_the_result_depends_on(checkpoint: Path, image: Path, tmp_path: Path) -> None:
    base = key()
    assert base
    assert key() == base
    assert key(output=Path("elsewhere"), command="another") == base
    changes: list[dict[str, Any]] = [
        {"opset": 17},
        {"precision": "fp16"},
        {"verify": "quick"},
        {"options": {"conf": "0.4"}},
        {"image": image},
        {"seed": 1},
        {"exporter": "dynamo"},
        {"simplify": False},
        {"target": 8},
        {"keep_fp32": ("head",)},
        {"input_names": ("x",)},
        {"build": adaptrt.specs.BuildOptions(optimization_level=1)},  # type: ignore[attr-defined]
        {"shapes": adaptrt.ShapeRequest(imgsz=(32, 32))},
        {"shapes": adaptrt.ShapeRequest(dynamic=frozenset({"batch", "hw"}))},
        {"trust_checkpoint": True},
    ]
    keys = [key(**change) for change in changes]
    assert len({base, *keys}) == len(changes) + 1


def test_the_content_of_files_counts(checkpoint: Path, image: Path) -> None:
    base, with_image = key(), key(image=image)
    elsewhere = Path("folder")
    elsewhere.mkdir()
    (elsewhere / "detector.pt").write_bytes(checkpoint.read_bytes())
    assert key(source="folder/detector.pt") == base
    checkpoint.write_bytes(b"other weights")
    assert key() != base
    checkpoint.write_bytes(b"weights")
    image.write_bytes(image.read_bytes() + b"\0")
    assert key(image=image) != with_image
    assert key() == base


def test_what_lies_beside_the_weights_counts(checkpoint: Path) -> None:
    """Adapters read a config of the same name, or the one in a folder."""
    keys = [key()]
    Path("detector.json").write_text("{}")
    keys.append(key())
    Path("detector.json").write_text('{"classes": 3}')
    keys.append(key())
    assert len(set(keys)) == 3


def test_the_content_of_an_option_that_is_a_file_counts(checkpoint: Path) -> None:
    Path("labels.txt").write_text("cat\n")
    before = key(options={"labels": "labels.txt"})
    Path("labels.txt").write_text("dog\n")
    assert key(options={"labels": "labels.txt"}) != before


def test_plugins_and_their_versions_count(checkpoint: Path, install_extension: Install, fake_distribution: Any) -> None:
    base = key()
    install_extension("blur", "")
    with_blur = key()
    assert with_blur != base
    Path("plugins.toml").write_text("[settings.blur]\nradius = 3\n")
    assert key(plugins_file=Path("plugins.toml")) != with_blur


def test_sources_of_an_editable_plugin_count(checkpoint: Path, install_extension: Install) -> None:
    module = install_extension("blur", "")
    __import__(module)
    folder = Path(str(sys.modules[module].__file__)).parent
    package = folder / "blur_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (info,) = folder.glob("*.dist-info")
    (info / "direct_url.json").write_text(json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}}))
    base = key()
    (package / "__init__.py").write_text("CHANGED = True")
    changed = key()
    assert changed != base
    (folder / f"{module}.py").write_text("CHANGED = True")  # a distribution may be a module, without a package
    assert key() != changed


def test_files_of_an_installed_plugin_count(checkpoint: Path, install_extension: Install) -> None:
    """The same version may be installed again with other code, from a clone for example; where its scripts lie does not matter."""
    module = install_extension("blur", "")
    __import__(module)
    (info,) = Path(str(sys.modules[module].__file__)).parent.glob("*.dist-info")
    record = info / "RECORD"
    record.write_text("blur.py,sha256=1,10\n../bin/blur,sha256=1,10\nblur.pyc,,\nblur.dist-info/INSTALLER,sha256=1,3\n")
    base = key()
    record.write_text("../../bin/blur,sha256=2,10\nblur.dist-info/INSTALLER,sha256=2,2\nblur.py,sha256=1,10\n")
    assert key() == base
    record.write_text("blur.py,sha256=2,10\n")
    assert key() != base


@pytest.mark.parametrize("group", ["adaptrt.extensions", "adaptrt.decoders", "adaptrt.tasks"])
def test_a_plugin_that_is_edited_where_it_is_installed(checkpoint: Path, fake_distribution: Any, group: str) -> None:
    """Its version stays, and so do the hashes in RECORD. Which decoder and task a model has is not known yet."""
    folder = fake_distribution("blur", {group: {"blur": "blur"}}, modules={"blur": "SCALE = 1"})
    (info,) = folder.glob("*.dist-info")
    (info / "RECORD").write_text("blur.py,sha256=1,9\n")
    base = key()
    assert key() == base
    (folder / "blur.py").write_text("SCALE = 2.0")
    assert key() != base


def test_an_editable_framework_of_another_adapter_does_not_matter(checkpoint: Path, fake_distribution: Any) -> None:
    """Its decoders count, since any model may have them, but they are code of the adapter."""
    folder = fake_distribution("framework", {}, modules={"framework": "SCALE = 1"})
    (info,) = folder.glob("framework-*.dist-info")
    (info / "direct_url.json").write_text(json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}}))
    fake_distribution("blur", {"adaptrt.decoders": {"blur": "blur"}}, requires=["framework"])
    base = key()
    assert base is not None
    (folder / "framework.py").write_text("SCALE = 2.0")
    assert key() == base


def test_files_of_what_a_plugin_requires_count(
    checkpoint: Path, install_extension: Install, fake_distribution: Any
) -> None:
    """A framework that is edited where it is installed keeps its version, and its files keep their hashes in RECORD."""
    folder = fake_distribution("framework", {}, modules={"framework": "SCALE = 1"})
    (info,) = folder.glob("framework-*.dist-info")
    (info / "RECORD").write_text("framework.py,sha256=1,9\n")
    install_extension("blur", "", requires=["framework"])
    base = key()
    assert key() == base
    (folder / "framework.py").write_text("SCALE = 2")
    assert key() != base


@pytest.mark.parametrize("source", ["detector", "package.module:build", "config.py"])
def test_code_and_names_are_never_identified_by_their_content(source: str, tiny: str) -> None:
    Path("config.py").write_text("model = 1")
    assert key(source=source) is None


def test_a_name_with_weights_is(checkpoint: Path) -> None:
    assert key(source="detector", weights=checkpoint) is not None
    assert key(source="detector_of_a_wheel.py", weights=checkpoint) is not None, (
        "a config by its name, as mmdet has them"
    )
    assert key(source="configs/detector_of_a_wheel.py", weights=checkpoint) is not None
    Path("detector_of_a_wheel.py").write_text("model = 1")
    assert key(source="detector_of_a_wheel.py", weights=checkpoint) is None, "a file of one's own is code"


def test_modules_of_plugins_toml_are_code(checkpoint: Path) -> None:
    Path("mine.py").write_text("")
    Path("mine.toml").write_text('[plugins]\nmodules = ["mine.py"]\n')
    session, settings = open_session("tiny", Path("mine.toml"))
    found, why = conversion_key(Request("detector.pt", "tiny"), session, settings)
    assert found is None
    assert "names modules" in why


def test_a_failed_conversion_is_not_kept(checkpoint: Path) -> None:
    with pytest.raises(adaptrt.UsageError):
        run(options={"nonsense": "1"})
    assert Store().entries() == []


def test_damaged_contents_are_converted_again(checkpoint: Path) -> None:
    run()
    for path in (Store().folder / "objects").glob("*/*"):
        path.write_bytes(b"damaged" + path.read_bytes()[7:])
    report = run()
    assert not report.cached
    assert Path("detector.onnx").read_bytes()[:7] != b"damaged"


def test_a_cache_that_cannot_be_written_is_a_warning(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("blocked").write_text("a file")
    monkeypatch.setenv("ADAPTRT_CACHE_DIR", "blocked/cache")
    report = run()
    assert report.status == "passed"
    assert any("--no-cache" in warning for warning in report.warnings)


def test_plugins_hear_of_the_end(checkpoint: Path, install_extension: Install) -> None:
    module = install_extension(
        "ear",
        """
        calls = []

        @hookimpl
        def conversion_finished(ctx, report):
            calls.append((report.status, bool(report.cached), report.onnx.is_file()))
        """,
    )
    run()
    run()
    assert sys.modules[module].calls == [("passed", False, True), ("passed", True, True)]


@pytest.mark.full
def test_a_hit_imports_no_framework_and_calls_no_hook_of_a_stage(checkpoint: Path) -> None:
    program = dedent(
        """
        import sys
        from adaptrt.cli.main import main
        from adaptrt.pipeline.sessions import listen_to_hooks
        hooks = []
        with listen_to_hooks(lambda call: hooks.append(call.hook)):
            code = main()
        heavy = [name for name in ("torch", "onnx", "onnxruntime", "cv2", "tensorrt") if name in sys.modules]
        print("CALLS", code, *heavy, *hooks, file=sys.stderr)
        """
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def convert_in_a_process() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", program, "convert", "--adapter", "tiny", "detector.pt", "--verify", "none"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        return done.stderr.partition("CALLS ")[2].split()

    first, second = convert_in_a_process(), convert_in_a_process()
    assert {"0", "torch", "load_model", "export_onnx"} <= set(first)
    assert second == ["0", "adapter_options", "conversion_finished"]


class _Meddler(Observer):
    """Does something to the files of a conversion while it runs."""

    def __init__(self, stage: str, action: Callable[[], object]) -> None:
        self.stage, self.action = stage, action

    def stage_started(self, name: str) -> None:
        if name == self.stage:
            self.action()


def replace_with(path: Path, content: bytes) -> None:
    aside = path.with_suffix(".aside")
    aside.write_bytes(content)
    aside.replace(path)


def replace_and_back(path: Path) -> None:
    kept = path.with_suffix(".kept")
    path.rename(kept)
    path.write_bytes(b"other")
    kept.replace(path)


@pytest.mark.parametrize(
    "action",
    [
        lambda path: replace_with(path, b"retrained"),
        lambda path: replace_with(path, path.read_bytes()),
        lambda path: path.write_bytes(b"retrain"),
        lambda path: path.unlink(),
        replace_and_back,
    ],
    ids=["other content", "same content", "in place", "removed", "and back"],
)
@pytest.mark.parametrize("stage", [pytest.param("load", marks=pytest.mark.full), "write"])
def test_a_source_that_changes_meanwhile_is_not_kept(
    checkpoint: Path, action: Callable[[Path], object], stage: str
) -> None:
    """Training writes best.pt again: the next conversion of the first file must not get the other model."""
    request = Request("detector.pt", "tiny", verify="none")
    report = convert(request, _Meddler(stage, lambda: action(checkpoint)))
    assert any("detector.pt changed during the run" in warning for warning in report.warnings)
    assert "detector.pt changed during" in Path("detector.report.json").read_text()
    assert Store().entries() == []
    checkpoint.write_bytes(b"weights")
    assert not run().cached


def test_a_config_that_appears_meanwhile(checkpoint: Path) -> None:
    request = Request("detector.pt", "tiny", verify="none")
    report = convert(request, _Meddler("load", lambda: Path("detector.json").write_text("{}")))
    assert any("was created during the conversion" in warning for warning in report.warnings)
    assert Store().entries() == []


@pytest.mark.parametrize("name", ["detector.json", "labels.txt", "data/part.txt", "nested.yaml"])
def test_every_file_that_counts_is_watched(checkpoint: Path, name: str) -> None:
    Path("data").mkdir()
    for path in ("detector.json", "labels.txt", "data/part.txt", "nested.yaml"):
        Path(path).write_text("before")
    sources = SourceFiles()
    session, settings = open_session("tiny")
    options = {"labels": "labels.txt", "calibration": "data", "kwargs": '{"model": {"cfg": ["nested.yaml"]}}'}
    request = Request("detector.pt", "tiny", options=options)
    before, _ = conversion_key(request, session, settings, sources)
    assert before
    assert sources.changed() == []
    Path(name).write_text("after!")
    assert [path.name for path in sources.changed()] == [Path(name).name]
    assert conversion_key(request, session, settings)[0] != before


def test_a_folder_counts_with_names_and_contents(checkpoint: Path) -> None:
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    keys = [key(source="model", weights=checkpoint)]
    Path("model/config.json").rename("model/other.json")
    keys.append(key(source="model", weights=checkpoint))
    Path("model/other.json").write_text("{ }")
    keys.append(key(source="model", weights=checkpoint))
    assert len({*keys, None}) == 4
    Path("model/link").symlink_to(Path.cwd())
    assert key(source="model", weights=checkpoint) is None


def entry_file() -> Path:
    (path,) = (Store().folder / "entries").glob("*.json")
    return path


@pytest.mark.parametrize("missing", [pytest.param(".report.json", marks=pytest.mark.full), ".onnx"])
def test_an_entry_without_a_file_is_converted_again(checkpoint: Path, missing: str) -> None:
    run()
    entry = json.loads(entry_file().read_text())
    del entry["files"][missing]
    entry_file().write_text(json.dumps(entry))
    assert not run().cached
    assert run().cached


def test_a_file_that_its_report_does_not_name_is_not_served(checkpoint: Path) -> None:
    run()
    content = b"arbitrary bytes"
    digest = hashlib.sha256(content).hexdigest()
    kept = Store().folder / "objects" / digest[:2] / digest
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(content)
    entry = json.loads(entry_file().read_text())
    for suffix in (".onnx", ".py"):
        entry["files"][suffix] = digest
        entry_file().write_text(json.dumps(entry))
        assert not run().cached
        assert Path("detector.onnx").read_bytes() != content
        assert not Path("detector.py").exists()
        entry = json.loads(entry_file().read_text())


def test_files_that_change_places_are_not_served(checkpoint: Path) -> None:
    run(precision="fp16")
    reduced = Path("detector.fp16.onnx").read_bytes()
    assert run(precision="fp16").cached
    entry = json.loads(entry_file().read_text())
    files = entry["files"]
    files[".onnx"], files[".fp16.onnx"] = files[".fp16.onnx"], files[".onnx"]
    entry_file().write_text(json.dumps(entry))
    assert not run(precision="fp16").cached
    assert Path("detector.fp16.onnx").read_bytes() == reduced


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners on this system")
def test_a_folder_that_others_can_write_to_is_not_used(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    monkeypatch.setenv("ADAPTRT_CACHE_DIR", str(shared))
    run()
    shared.chmod(0o777)
    before = sorted(shared.rglob("*"))
    report = run()
    assert not report.cached
    (warning,) = [warning for warning in report.warnings if "cache" in warning]
    assert "chmod 700" in warning
    assert "ADAPTRT_CACHE_DIR" in warning
    assert run(cache=False).warnings == []
    assert sorted(shared.rglob("*")) == before
    shared.chmod(0o700)
    assert run().cached
