"""However a conversion ends: no file that is not whole, everything restored, and the error says what it was."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from patience import HANG

import adaptrt
from adaptrt import AdaptrtError, OutputError, PluginError, Report, VerificationError
from adaptrt.pipeline.convert import convert
from adaptrt.pipeline.observer import Observer
from adaptrt.report import Stage
from adaptrt.request import Request

Install = Callable[..., str]

STAGES = ("load", "spec", "reference", "link 0", "patches", "link 1", "export", "passes", "write", "link 2", "link 5")
FULL_DISK = "raise OSError(28, 'No space left on device')"


def run(source: str = "detector", *, observer: Observer | None = None, adapter: str = "tiny", **options: Any) -> Report:
    """The conversion itself, without the pages that the layer above makes of its report."""
    return convert(Request(source, adapter, **{"verify": "none", **options}), observer)


def files_here() -> list[str]:
    return sorted(path.name for path in Path().rglob("*"))


@pytest.fixture
def restored(tiny: str) -> Iterator[None]:
    """Whatever happens, the framework is afterwards what it was."""
    import tinyvision.nets as nets

    centers, static = nets.cell_centers, nets.Flatten.static
    yield
    assert nets.cell_centers is centers
    assert nets.Flatten.static is static
    assert threading.active_count() >= 1


class Interrupting(Observer):
    """Ctrl-C as a stage starts, or as it is on its way to the next."""

    def __init__(self, stage: str, at: str) -> None:
        self.stage, self.at = stage, at
        self.ended: list[str] = []

    def stage_started(self, name: str) -> None:
        if self.at == "start" and name == self.stage:
            raise KeyboardInterrupt

    def stage_finished(self, stage: Stage) -> None:
        if self.at == "end" and stage.name == self.stage:
            raise KeyboardInterrupt

    def finished(self, report: Report) -> None:
        self.ended.append(report.status)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("at", [pytest.param("start", marks=pytest.mark.full), "end"])
@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_in_any_stage(stage: str, at: str, image: Path) -> None:
    observer = Interrupting(stage, at)
    with pytest.raises(KeyboardInterrupt):
        run(verify="quick", image=image, output=Path("out"), observer=observer)
    assert files_here() == []
    assert observer.ended == ["failed"]


HOOKS = (
    *("adapter_options", "load_model", "model_spec", "example_inputs", "patches", "export_onnx", "graph_passes"),
    *("reduce_precision", "build_engine", "preprocess", "postprocess", "framework_predictions", "metrics"),
)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("wrapper", [pytest.param(False, marks=pytest.mark.full), True], ids=["before", "after"])
@pytest.mark.parametrize("hook", HOOKS[2:])
def test_interrupted_in_any_hook(hook: str, wrapper: bool, image: Path, install_extension: Install) -> None:
    body = "yield\n    raise KeyboardInterrupt" if wrapper else "raise KeyboardInterrupt"
    install_extension("ext", f"@hookimpl(wrapper={wrapper})\ndef {hook}():\n    {body}\n")
    with pytest.raises(KeyboardInterrupt):
        run(verify="quick", image=image)
    assert files_here() == []


@pytest.mark.usefixtures("restored")
def test_interrupted_in_a_patched_function(install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        def interrupt(original, self, x):
            raise KeyboardInterrupt

        @hookimpl
        def patches():
            return [FunctionPatch(target="tinyvision.nets:Features.forward", requires="torch>=2", reason="r",
                                  replacement=interrupt)]
        """,
    )
    import tinyvision.nets as nets

    forward = nets.Features.forward
    with pytest.raises(KeyboardInterrupt):
        run(verify="quick")
    assert nets.Features.forward is forward
    assert files_here() == []


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("hook", HOOKS[2:])
def test_a_full_disk_in_any_hook(hook: str, image: Path, install_extension: Install) -> None:
    install_extension("ext", f"@hookimpl\ndef {hook}(): {FULL_DISK}\n")
    with pytest.raises(OutputError, match="No space left") as caught:
        run(verify="quick", image=image)
    assert files_here() == []
    assert caught.value.report is not None
    assert caught.value.report.status == "failed"
    assert caught.value.report.failure is not None
    assert caught.value.report.failure.kind == "OutputError"
    assert caught.value.exit_code == 2


def raise_full(*args: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "where",
    [
        "torch.onnx.export",
        "onnx.save",
        "pathlib.Path.write_text",
        "pathlib.Path.replace",
        "pathlib.Path.mkdir",
    ],
)
def test_a_full_disk_wherever_something_is_written(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx
    import torch.onnx

    assert onnx is not None
    assert torch.onnx is not None
    with monkeypatch.context() as patched:
        patched.setattr(where, raise_full)
        with pytest.raises(OutputError, match="No space left"):
            run(output=Path("out"))
    assert files_here() == []


@pytest.mark.usefixtures("restored")
def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file system of its own, of 16 KiB: the graph does not fit."""
    small = tmp_path / "small"
    small.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(OutputError, match=f"No space left on the device holding {small}"):
            run(verify="quick", output=small)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_report_that_cannot_be_written_takes_the_graph_with_it(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("detector.onnx").write_text("an older one")
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if str(target).endswith(".report.json"):
            raise OSError(errno.EIO, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OutputError, match="Input/output error") as caught:
        run()
    assert files_here() == ["detector.onnx"]
    assert Path("detector.onnx").read_text() == "an older one"
    assert caught.value.report is not None
    assert caught.value.report.onnx is None


def test_results_and_report_replace_older_ones(tiny: str) -> None:
    for name in ("detector.onnx", "detector.report.json"):
        Path(name).write_text("an older one")
    report = run()
    assert files_here() == ["detector.onnx", "detector.report.json"]
    assert Report.from_json(Path("detector.report.json").read_text()) == report


def test_documents_are_published_with_the_rest(tiny: str) -> None:
    def documents(report: Report, folder: Path) -> dict[str, Path]:
        assert report.status == "passed"
        path = folder / "page.html"
        path.write_text(report.adapter)
        return {".report.html": path}

    convert(Request("detector", "tiny", verify="none"), documents=documents)
    assert files_here() == ["detector.onnx", "detector.report.html", "detector.report.json"]
    assert Path("detector.report.html").read_text() == "tiny"

    def failing(report: Report, folder: Path) -> dict[str, Path]:
        raise PluginError("no page")

    with pytest.raises(PluginError, match="no page"):
        convert(Request("detector", "tiny", verify="none", output=Path("other")), documents=failing)
    assert not Path("other").exists()


def test_a_hook_at_the_end_does_not_hide_the_first_error(tiny: str, install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        @hookimpl
        def export_onnx(): raise ExportError("the first error")
        @hookimpl
        def conversion_finished(): raise ValueError("the second error")
        """,
    )
    with pytest.raises(adaptrt.ExportError, match="the first error") as caught:
        run(verify="full")
    assert caught.value.report is not None
    assert caught.value.report.warnings == [
        "ext (adaptrt-ext 1.0) failed in conversion_finished: ValueError: the second error"
    ]
    assert caught.value.report.failure is not None
    assert caught.value.report.failure.message == "the first error"
    assert caught.value.report.failure.stage == "export"


def test_a_hook_that_fails_at_the_end_of_a_good_conversion(tiny: str, install_extension: Install) -> None:
    install_extension("ext", "@hookimpl\ndef conversion_finished(): raise ValueError('no mail')\n")
    with pytest.raises(PluginError, match=r"ext \(adaptrt-ext 1.0\) failed in conversion_finished") as caught:
        run()
    assert caught.value.hint == "The files were written: detector.onnx"
    assert caught.value.report is not None
    assert caught.value.report.status == "passed"
    assert files_here() == ["detector.onnx", "detector.report.json"]


@pytest.mark.parametrize("failing", [{}, {"options": {"cofn": "1"}}, {"options": {"patched": "perhaps"}}])
def test_plugins_hear_of_the_end_of_every_conversion(
    failing: dict[str, Any], tiny: str, install_extension: Install
) -> None:
    module = install_extension(
        "ext", "ends = []\n@hookimpl\ndef conversion_finished(ctx, report): ends.append(report.status)\n"
    )
    if failing:
        with pytest.raises(AdaptrtError):
            run(**failing)
    else:
        run()
    assert sys.modules[module].ends == ["failed" if failing else "passed"]


def test_the_time_of_a_failed_stage_is_known(tiny: str, install_extension: Install) -> None:
    install_extension(
        "ext",
        """
        import time
        @hookimpl
        def export_onnx():
            time.sleep(0.05)
            raise ExportError("no")
        """,
    )
    with pytest.raises(adaptrt.ExportError) as caught:
        run()
    assert caught.value.report is not None
    assert caught.value.report.stages[-1].name == "export"
    assert caught.value.report.stages[-1].seconds >= 0.05


@pytest.mark.parametrize("option", ["image", "test_image"])
def test_an_image_that_is_none_is_found_before_the_model_is_loaded(tiny: str, option: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    for path in (tmp_path / "missing.png", tmp_path / "text.png", tmp_path):
        with pytest.raises(adaptrt.ImageError) as caught:
            run(**{option: path})
        assert caught.value.report is not None
        assert caught.value.report.stages == []
    assert files_here() == []


def test_an_output_folder_that_cannot_be_is_found_before_anything(tiny: str) -> None:
    Path("taken").touch()
    with pytest.raises(OutputError, match="is not a folder"):
        run(adapter="no_such_adapter", output=Path("taken/out"))


def test_two_conversions_to_one_name_at_once(tiny: str) -> None:
    """Two threads: the second is told at once, while the first is at work."""
    inside, go_on = threading.Event(), threading.Event()
    reports: list[Report] = []

    class Waiting(Observer):
        def stage_started(self, name: str) -> None:
            if name == "export":
                inside.set()
                assert go_on.wait(HANG)

    def first() -> None:
        reports.append(run(observer=Waiting()))

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert inside.wait(HANG)
        with pytest.raises(OutputError, match="Another conversion is currently writing"):
            run()
    finally:
        go_on.set()
        thread.join(HANG)
    assert [report.status for report in reports] == ["passed"]
    assert files_here() == ["detector.onnx", "detector.report.json"]


def test_two_processes_to_one_name(tiny: str, tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from adaptrt.pipeline.output import Destination, opened
        with opened(Destination(Path(sys.argv[1]), "detector")):
            print("inside", flush=True)
            sys.stdin.read()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", dedent(code), str(Path().resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"inside\n"
        with pytest.raises(OutputError, match="Another conversion is currently writing"):
            run()
    finally:
        other.communicate()
    assert run().status == "passed"


def test_a_process_that_was_killed_leaves_no_lock(tiny: str) -> None:
    code = """
        import os, sys, signal
        from pathlib import Path
        from adaptrt.pipeline.output import Destination, opened
        with opened(Destination(Path(sys.argv[1]), "detector")):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", dedent(code), str(Path().resolve())], check=False)
    assert run().status == "passed"


def test_a_failed_verification_leaves_nothing(tiny: str) -> None:
    with pytest.raises(VerificationError) as caught:
        run("leaky", verify="full")
    assert files_here() == []
    assert caught.value.report is not None
    assert caught.value.report.files == {}
