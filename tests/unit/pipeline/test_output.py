"""Where results go: names, locks, all files or none. Needs no framework."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import HANG

from adaptrt.errors import OutputError
from adaptrt.pipeline.output import Destination, choose_destination, opened, output_error, publish, require_file
from adaptrt.store import workspace


@pytest.mark.parametrize(
    ("source", "given", "expected"),
    [
        ("best.pt", None, "best"),
        ("runs/best.pt", None, "best"),  # a file that is not there: the current folder
        ("swin_tiny_patch4_window7_224", None, "swin_tiny_patch4_window7_224"),
        ("mypackage.models:build_net", None, "build_net"),
        ("net.py:build", None, "build"),
        ("org/model-1.0", None, "org_model-1.0"),
        ("yolov5n.yaml", None, "yolov5n"),
        ("best.pt", "out", "out/best"),
        ("best.pt", "out/shop.onnx", "out/shop"),
        ("best.pt", "shop.engine", "shop"),
        ("best.pt", "v1.5", "v1.5/best"),
        ("best.pt", "out/", "out/best"),
    ],
)
def test_names(source: str, given: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_destination(source, Path(given) if given else None).path("") == Path(expected)


@pytest.mark.parametrize("suffix", [".plan", ".trt", ".engine"])
def test_an_engine_is_called_as_asked(suffix: str) -> None:
    destination = choose_destination("best.pt", Path(f"out/best{suffix}"))
    for said, name in ((".engine", suffix), (".engine.json", f"{suffix}.json"), (".onnx", ".onnx")):
        path = destination.path(said)
        assert path == Path(f"out/best{name}")
        assert destination.suffix(path) == said


def test_a_name_that_says_the_precision_already() -> None:
    assert choose_destination("best.pt", Path("best.fp16.onnx"), "fp16").path(".fp16.onnx") == Path("best.fp16.onnx")
    assert choose_destination("best.pt", Path("best.fp16.onnx"), "fp32").path(".onnx") == Path("best.fp16.onnx")
    assert choose_destination("best.pt", Path(".fp16.onnx"), "fp16").stem == ".fp16"


def test_an_engine_keeps_the_name_it_is_given() -> None:
    found = choose_destination("best.pt", Path("best.fp16.engine"), "fp16")
    names = {
        suffix: found.path(suffix).name for suffix in (".engine", ".engine.json", ".report.json", ".onnx", ".fp16.onnx")
    }
    assert names == {
        ".engine": "best.fp16.engine",
        ".engine.json": "best.fp16.engine.json",
        ".report.json": "best.fp16.report.json",
        ".onnx": "best.onnx",
        ".fp16.onnx": "best.fp16.onnx",
    }
    assert {found.suffix(Path(name)) for name in names.values()} == set(names)


def test_beside_the_source_where_that_is_a_file(tmp_path: Path) -> None:
    source = tmp_path / "best.pt"
    source.touch()
    assert choose_destination(str(source), None) == Destination(tmp_path, "best")


def test_a_folder_may_look_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "run.onnx").mkdir()
    assert choose_destination("best.pt", tmp_path / "run.onnx") == Destination(tmp_path / "run.onnx", "best")


def test_a_suffix_that_is_not_written() -> None:
    with pytest.raises(OutputError, match=r"not \.tflite") as caught:
        choose_destination("best.pt", Path("out/best.tflite"))
    assert "best.onnx" in (caught.value.hint or "")


@pytest.mark.parametrize("source", ["", ".", "..", "/", "a:"])
def test_sources_without_a_name_give_one_anyway(source: str) -> None:
    assert choose_destination(source, None).stem not in ("", ".", "..")


def test_the_work_folder_goes(tmp_path: Path) -> None:
    with opened(Destination(tmp_path, "best")) as workdir:
        assert workdir.parent == tmp_path
        (workdir / "deep").mkdir()
        (workdir / "deep" / "file").touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_it_goes_after_any_failure_and_folders_made_for_it_too(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with opened(Destination(tmp_path / "a" / "b", "best")) as workdir:
            (workdir / "half.onnx").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_folders_with_something_in_them_stay(tmp_path: Path) -> None:
    with opened(Destination(tmp_path / "a" / "b", "best")):
        (tmp_path / "a" / "b" / "best.onnx").touch()
    assert (tmp_path / "a" / "b" / "best.onnx").is_file()


def test_two_conversions_to_one_name(tmp_path: Path) -> None:
    with opened(Destination(tmp_path, "best")):
        with (
            pytest.raises(OutputError, match="Another conversion is currently writing") as caught,
            opened(Destination(tmp_path, "best")),
        ):
            pass
        assert "-o" in (caught.value.hint or "")
        with opened(Destination(tmp_path, "other")):
            pass
        (tmp_path / "link").symlink_to(tmp_path)
        with pytest.raises(OutputError), opened(Destination(tmp_path / "link", "best")):
            pass
    with opened(Destination(tmp_path, "best")):
        pass


def test_two_threads_to_one_name(tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with opened(Destination(tmp_path, "best")):
            inside.set()
            go_on.wait(HANG)

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert inside.wait(HANG)
        with pytest.raises(OutputError, match="Another conversion"), opened(Destination(tmp_path, "best")):
            pass
    finally:
        go_on.set()
        thread.join()


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    for folder in (tmp_path / "out", tmp_path / "out" / "deep"):
        with pytest.raises(OutputError, match="is not a folder"), opened(Destination(folder, "best")):
            pass


@pytest.mark.parametrize("suffix", [".onnx", ".engine", ".report.json"])
def test_a_folder_where_a_file_should_be(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"best{suffix}").mkdir()
    with pytest.raises(OutputError, match="is a folder"), opened(Destination(tmp_path, "best")):
        pass


def test_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    if os.geteuid() == 0:  # root may write anywhere
        monkeypatch.setattr(Path, "mkdir", refuse)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="is not writable") as caught, opened(Destination(tmp_path, "best")):
            pass
    finally:
        tmp_path.chmod(0o700)
    assert "-o" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left"),
        (errno.EDQUOT, "No space left"),
        (errno.EFBIG, "larger than the limit of this process"),
        (errno.EROFS, "is not writable"),
        (errno.EPERM, "is not writable"),
        (errno.EIO, "Input/output error"),
        (errno.ENAMETOOLONG, "File name too long"),
    ],
)
def test_what_the_file_system_says(number: int, message: str) -> None:
    error = output_error(OSError(number, os.strerror(number)), Path("target"))
    assert message in error.message
    assert error.message.count("target") == 1
    assert error.hint
    assert error.exit_code == 2


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"), opened(Destination(tmp_path, "x" * 300)):
        pass


def prepared(tmp_path: Path, *names: str) -> tuple[dict[Path, Path], Path]:
    workdir = tmp_path / "work"
    workdir.mkdir()
    files = {}
    for name in names:
        (workdir / name).write_text(f"new {name}")
        files[tmp_path / name] = workdir / name
    return files, workdir


def test_publishing_moves_every_file(tmp_path: Path) -> None:
    files, workdir = prepared(tmp_path, "a", "b")
    (tmp_path / "a").write_text("old a")
    publish(files, workdir)
    assert {path.name: path.read_text() for path in files} == {"a": "new a", "b": "new b"}


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "copies"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("position", range(3))
def test_publishing_is_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, position: int, error: BaseException, links: bool
) -> None:
    files, workdir = prepared(tmp_path, "a", "b", "c")
    (tmp_path / "b").write_text("old b")
    replace = Path.replace
    calls = iter(range(100))

    def failing(path: Path, target: Path) -> Path:
        if next(calls) == position:
            raise error
        return replace(path, target)

    def no_link(path: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(Path, "replace", failing)
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_link)
    with pytest.raises(type(error)):
        publish(files, workdir)
    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    assert found == {"b": "old b"}


LOCKED = """
import sys
from pathlib import Path
from adaptrt.pipeline.output import Destination, opened
with opened(Destination(Path(sys.argv[1]), sys.argv[2])) as workdir:
    (workdir / "model.onnx").write_text("half")
    print(workdir, flush=True)
    sys.stdin.read()  # until the test ends
"""


@contextmanager
def another_process(folder: Path, stem: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", LOCKED, str(folder), stem]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip()
        yield process
    finally:
        process.kill()
        process.wait()


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for stem in ("one", "two", "three"):
        with opened(Destination(tmp_path, stem)):
            pass
    assert list(temporary.iterdir()) == []
    assert list(tmp_path.iterdir()) == [temporary]


@pytest.mark.parametrize("next_stem", ["best", "other"])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path, next_stem: str) -> None:
    with another_process(tmp_path, "best") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        (left,) = tmp_path.iterdir()
        assert (left / "model.onnx").is_file()
        with opened(Destination(tmp_path, next_stem)) as workdir:
            assert {path.name for path in tmp_path.iterdir()} == {workdir.name}
            assert not (workdir / "model.onnx").exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_owns_stays(tmp_path: Path) -> None:
    with another_process(tmp_path, "best"):
        (owned,) = tmp_path.iterdir()
        with opened(Destination(tmp_path, "other")):
            assert (owned / "model.onnx").is_file()
        with pytest.raises(OutputError, match="Another conversion"), opened(Destination(tmp_path, "best")):
            pass
        assert (owned / "model.onnx").is_file()


def test_folders_of_the_user_are_no_work_folders(tmp_path: Path) -> None:
    kept = tmp_path / ".mine.adaptrt"
    kept.mkdir()
    (kept / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lock").touch()
    (tmp_path / ".link.adaptrt").symlink_to(tmp_path / "elsewhere")
    with opened(Destination(tmp_path, "best")):
        pass
    assert (kept / "file").exists()
    assert (tmp_path / "elsewhere" / "lock").exists()


@pytest.mark.parametrize("plant", ["link", "file", "foreign"])
def test_a_planted_work_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    planted = tmp_path / "out" / ".best.adaptrt"
    planted.parent.mkdir()
    if plant == "link":
        planted.symlink_to(tmp_path / "elsewhere")
    elif plant == "file":
        planted.touch()
    else:
        planted.mkdir()
        own = workspace._is_own_folder
        monkeypatch.setattr(workspace, "_is_own_folder", lambda path: path != planted and own(path))
    with opened(Destination(planted.parent, "best")) as workdir:
        assert workdir != planted
        assert workdir.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert list(planted.parent.iterdir()) == [planted]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, seconds: float) -> None:
        (path / "lock").touch()
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(workspace, "_locked", refuse)
    with opened(Destination(tmp_path, "best")) as workdir:
        (workdir / "file").touch()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["elsewhere/model.onnx", "elsewhere/new.onnx"])
def test_a_link_is_followed(tmp_path: Path, target: str) -> None:
    files, workdir = prepared(tmp_path, "a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.onnx").write_text("old")
    (tmp_path / "a").symlink_to(target)
    publish(files, workdir)
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / target).read_text() == "new a"


def test_a_link_to_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, workdir = prepared(tmp_path, "a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a").symlink_to("elsewhere/a")
    replace = Path.replace

    def other_device(path: Path, target: Path) -> Path:
        if path.parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", other_device)
    publish(files, workdir)
    assert (tmp_path / "a").is_symlink()
    assert [path.read_text() for path in (tmp_path / "elsewhere").iterdir()] == ["new a"]


def test_a_link_of_another_user_in_a_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "best.onnx").symlink_to(victim)
    owner = os.getuid()
    lstat = Path.lstat

    def planted(path: Path) -> os.stat_result:
        found = lstat(path)
        return os.stat_result((*found[:4], owner + 1, *found[5:])) if stat.S_ISLNK(found.st_mode) else found

    monkeypatch.setattr(Path, "lstat", planted)
    with pytest.raises(OutputError, match="another user placed"), opened(Destination(shared, "best")):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("suffix", [".onnx", ".engine", ".report.json"])
def test_a_fifo_is_refused(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"best{suffix}")
    with pytest.raises(OutputError, match="is not a regular file"), opened(Destination(tmp_path, "best")):
        pass


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.onnx").symlink_to("best.onnx")
    with pytest.raises(OutputError, match="is not a regular file"), opened(Destination(tmp_path, "best")):
        pass


def test_a_file_is_refused_before_the_work_for_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for allowed in (tmp_path / "file", tmp_path / "new" / "folder" / "file", Path("/dev/null")):
        require_file(allowed)
    assert not (tmp_path / "new").exists()
    for refused in (tmp_path, tmp_path / "file" / "other", tmp_path / "file" / "new" / "other"):
        with pytest.raises(OutputError) as caught:
            require_file(refused, "--html")
        assert "with --html" in str(caught.value.hint)
