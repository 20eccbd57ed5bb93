"""Ctrl-C at any change of the file system: what a command writes is there as a whole, or not at all."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Converted = Callable[[str], Path]

CHANGES = ("write_text", "write_bytes", "replace", "mkdir", "hardlink_to")


def content(folder: Path) -> dict[str, str]:
    """Every path below, with the hash of a file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``interrupted(3)``: Ctrl-C right after the third change that follows, in this thread."""
    state = {"left": 0}
    originals = {name: getattr(Path, name) for name in CHANGES}

    def wrap(name: str) -> Callable[..., Any]:
        def changed(path: Path, *args: Any, **options: Any) -> Any:
            result = originals[name](path, *args, **options)
            state["left"] -= 1
            if state["left"] == 0:
                raise KeyboardInterrupt
            return result

        return changed

    for name in CHANGES:
        monkeypatch.setattr(Path, name, wrap(name))

    def arm(count: int) -> None:
        state["left"] = count

    return arm


def require_all_or_nothing(adaptrt: Any, interrupted: Callable[[int], None], folder: Path, words: list[Any]) -> int:
    """Interrupt at each change in turn; returns at how many. The last run is not interrupted."""
    before = content(folder)
    for count in itertools.count(1):
        interrupted(count)
        result = adaptrt(*words)
        interrupted(0)
        if result.code != 130:
            assert result.code == 0, result.err
            return count - 1
        assert result.err.splitlines()[-1] == "Interrupted"
        after = content(folder)
        if after != before:  # interrupted after the last rename: then everything is there
            adaptrt(*words, *(["--overwrite"] if words[0] == "package" else []))
            assert {*after} == {*content(folder)}, (
                f"interrupted at change {count}: {sorted({*after} - {*before})} is there"
            )
            return count
    raise AssertionError


@pytest.mark.parametrize(
    "kind", ["adapter", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("extension", "backend"))]
)
def test_new_packages(
    adaptrt: Any, interrupted: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert require_all_or_nothing(adaptrt, interrupted, tmp_path, [f"new-{kind}", "mine", "-o", "a/b"]) > 5


@pytest.mark.full
@pytest.mark.parametrize(
    "words",
    [
        ["run", "FILE", "-o", "new/out.npz"],
        ["run", "FILE", "--image", "IMAGE", "--outputs", "/model/Mul_1_output_0", "-o", "new/out.png"],
        ["predict", "FILE", "IMAGE", "-o", "new/out.png"],
        ["inspect", "FILE", "--graph", "html"],
        ["clean", "FILE", "-o", "new/clean.onnx", "--no-simplify"],
        ["compare", "FILE", "FILE", "--save-inputs", "in.json", "-q"],
        ["compare", "FILE", "FILE", "--html", "page.html"],
        ["package", "runtime", "FILE", "-o", "new/package"],
        ["bench", "FILE", "--seconds", "0.02", "--turns", "1", "-o", "page.html"],
        ["doctor", "--report", "report.md"],
    ],
    ids=lambda words: f"{words[0]}-{words[-1].rpartition('.')[2]}",
)
def test_commands_on_a_model(
    adaptrt: Any, interrupted: Callable[[int], None], converted: Converted, image: Path, words: list[str]
) -> None:
    file = converted("detector")
    given = [{"FILE": file, "IMAGE": image}.get(word, word) for word in words]
    assert require_all_or_nothing(adaptrt, interrupted, file.parent, given) >= 1


@pytest.mark.full
def test_a_package_that_replaces_another(
    adaptrt: Any, interrupted: Callable[[int], None], converted: Converted, tmp_path: Path
) -> None:
    file = converted("detector")
    words = ["package", "runtime", file, "-o", "package"]
    assert adaptrt(*words).code == 0
    before = content(Path("package"))
    for count in itertools.count(1):
        interrupted(count)
        code = adaptrt(*words, "--overwrite", "-s", "conf=0.7").code
        interrupted(0)
        if code == 0:
            break
        assert code == 130
        if content(Path("package")) != before:
            break
    assert count > 3
    assert content(Path("package")) != before
    assert {*content(Path("package"))} == {*before}
