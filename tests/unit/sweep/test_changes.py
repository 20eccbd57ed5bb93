"""``adaptrt sweep`` again: what has changed since is converted again, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copy2
from typing import Any

import pytest
from fake_conversions import FAKE, request, starts

from adaptrt.store.hashing import file_sha256
from adaptrt.sweep.plan import cells_of
from adaptrt.sweep.run import run_sweep


def test_a_source_counts_as_it_was_before_it_was_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced meanwhile, it is converted again. It is read once, however many conversions name it."""
    from adaptrt.sweep import run

    read: list[Path] = []
    monkeypatch.setattr(run, "file_sha256", lambda path: read.append(path) or path.read_text())
    source = tmp_path / "one.pt"
    source.write_text("0")
    cells = cells_of({"models": [{"source": str(source)}], "axes": {"imgsz": [64, 96]}}, "s.toml")
    first = request(tmp_path, cells=cells)
    retrain = tmp_path / "retrain.py"
    retrain.write_text(f"{FAKE}\nPath({str(source)!r}).write_text('1')\n")
    run_sweep(replace(first, command=(sys.executable, "-S", str(retrain))))
    assert read == [source]
    run_sweep(first)
    assert set(starts(tmp_path).values()) == {2}


@pytest.mark.parametrize(
    "value", [str, lambda path: [str(path)], lambda path: {"file": str(path)}], ids=["text", "list", "table"]
)
def test_a_changed_file_of_an_option_is_a_changed_conversion(tmp_path: Path, value: Callable[[Path], Any]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("0")
    cells = cells_of({"models": [{"source": "one.pt", "recipe": value(recipe)}]}, "s.toml")
    for text, runs in (("0", 1), ("0", 1), ("1", 2)):
        recipe.write_text(text)
        run_sweep(request(tmp_path, cells=cells))
        assert starts(tmp_path) == {"one": runs}


@pytest.mark.parametrize("key", ["source", "calib", "set"])
def test_a_changed_folder_of_an_option_is_a_changed_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Calibration images, or weights beside their configuration. What a conversion leaves behind in it does not count."""
    monkeypatch.chdir(tmp_path)
    images = Path("images")
    (images / "more").mkdir(parents=True)
    (images / "more" / "a.png").write_text("0")
    (images / "nothing").symlink_to("missing")
    (images / "out").symlink_to(tmp_path / "out")
    Path("torch").mkdir()
    value = {"file": "images"} if key == "set" else "images"
    cells = cells_of({"models": [{"name": "one", "adapter": "torch", "source": "one.pt", key: value}]}, "s.toml")

    def runs() -> int:
        run_sweep(request(tmp_path, cells=cells))
        return starts(tmp_path)["one"]

    assert runs() == 1
    (images / "__pycache__").mkdir()
    (images / "__pycache__" / "net.pyc").write_text("")
    (Path("torch") / "adapter.py").write_text("a folder that has the adapter's name")
    assert runs() == 1
    (images / "more" / "a.png").write_text("00")
    assert runs() == 2
    (images / "b.png").write_text("0")
    assert runs() == 3
    (images / "b.png").rename(images / "c.png")
    assert runs() == 4


def test_a_conversion_whose_files_were_replaced_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, with other options: the report is not of the files that lie there now. Only a file that is newer than the result is read."""
    from adaptrt.sweep import run

    read: list[Path] = []
    monkeypatch.setattr(run, "file_sha256", lambda path: read.append(path) or file_sha256(path))
    writes = tmp_path / "writes.py"
    writes.write_text(
        "import hashlib, json, sys; from pathlib import Path\n"
        "path = Path(sys.argv[sys.argv.index('-o') + 1]) / 'best.onnx'; path.write_text('converted')\n"
        "record = {'path': str(path), 'sha256': hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        "print(json.dumps({'verdict': {'word': 'verified'}, 'files': {'onnx': record}}))\n"
    )
    lines: list[str] = []
    cells = cells_of({"models": [{"source": "one.pt"}]}, "s.toml")
    again = request(tmp_path, cells=cells, command=(sys.executable, "-S", str(writes)), progress=lines.append)
    file = tmp_path / "out" / "one" / "best.onnx"
    kept = "1 of 1 conversions have a result"
    for change, said, reads in (
        (lambda: None, "1/1 one: passed", []),
        (lambda: None, kept, []),
        (lambda: file.write_text("by hand"), "1/1 one: passed", [file]),
        (file.unlink, "1/1 one: passed", []),
        (lambda: copy2(file, file.with_name("copy")), kept, []),
        (lambda: file.with_name("copy").replace(file), kept, [file]),
    ):
        change()
        lines.clear()
        read.clear()
        run_sweep(again)
        assert len(lines) == 1
        assert lines[0].startswith(said)
        assert read == reads
        assert file.read_text() == "converted"
