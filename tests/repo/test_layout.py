"""What holds for the repository as a whole: sizes, names, types, what must not be in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = {"core": 400, "docs": 400, "adapters": 300, "extensions": 300, "tests": 500, "benchmarks": 500}
LONG = {  # a longer module is a question; the answer stands here
    "tests/support/fake_gpu.py": "one machine: memory, streams, events, graphs and the bindings on top of them",
}
FIXTURE_MEGABYTES = 18


def tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_modules_are_read_in_a_sitting() -> None:
    long = {}
    for folder, lines in LINES.items():
        sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in tracked(f"{folder}/**.py")}
        assert sizes, folder
        long |= {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > lines}
    assert long.keys() == LONG.keys(), f"split them, or give the reason in LONG: {long}"


def test_fixtures_travel_light() -> None:
    size = sum(path.stat().st_size for path in tracked("tests/", "docs/"))
    assert size < FIXTURE_MEGABYTES * 1e6


def test_no_file_is_empty_by_accident() -> None:
    meant = {
        "__init__.py",
        "py.typed",
        ".gitkeep",
    }  # a command that was tried in the checkout left an empty best.onnx once
    assert not [path for path in tracked() if not path.stat().st_size and path.name not in meant]


def test_a_fresh_clone_has_all_that_tests_read() -> None:
    """Beside the repository only ``../shared/weights`` is looked at: AGPL-3.0 checkpoints that are not shipped."""
    beside = re.compile(r'parents\[\d\] / "shared"( / "weights")?')
    found = {
        str(path.relative_to(ROOT)): match[1]
        for path in tracked("tests/**.py", "benchmarks/**.py", "docs/**.py")
        for match in beside.finditer(path.read_text(encoding="utf-8"))
    }
    assert found, "the pattern finds nothing any more"
    assert not [path for path, weights in found.items() if not weights]
    assert not [path for path in tracked("tools/*", ".ci/*", "Makefile") if "../shared" in path.read_text("utf-8")]


def test_no_path_of_anybodys_machine() -> None:
    own = re.compile(r"(?<![\w.~/-])/(?:home|root|Users|mnt|work)/(?!(?:me|you|user)\b)\w+")
    suffixes = {".py", ".md", ".toml", ".json", ".txt", ".yaml", ".yml", ""}
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path.suffix in suffixes
        for match in own.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_every_distribution_is_typed() -> None:
    folders = (ROOT / name for name in ("adapters", "extensions", "docs/examples"))
    plugins = [package for folder in folders for package in folder.glob("*/adaptrt_*")]
    packages = [ROOT / "core" / "adaptrt", *plugins]
    assert [package for package in packages if not (package / "py.typed").exists()] == []


@pytest.mark.parametrize("name", ["test", "test-full", "demo", "check", "setup", "docs", "gpu"])
def test_make_targets_exist(name: str) -> None:
    assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_make_targets_that_are_written_about_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        written = set(re.findall(r"(?:^|`|\$ )make ([a-z-]+)", text, re.MULTILINE))
        assert written <= targets, f"{page.relative_to(ROOT)}: no make {', '.join(written - targets)}"


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
