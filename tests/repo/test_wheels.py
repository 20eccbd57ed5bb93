"""What is installed is what plugins.toml says: the wheels are built, without a network, and looked into."""

from __future__ import annotations

import configparser
import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from installed import require_distributions
from packaging.requirements import Requirement

from adaptrt import __version__
from adaptrt.plugins.settings import read_settings

require_distributions("hatchling", "pip", reason="wheels are built with them, and nothing is downloaded")

ROOT = Path(__file__).parents[2]
CATALOG = read_settings(ROOT / "plugins.toml").adapters
DISTRIBUTIONS = sorted({entry.distribution for entry in CATALOG.values()})


class Wheel(NamedTuple):
    """A built wheel: its metadata, its entry points by group, its files."""

    path: Path
    metadata: email.message.Message
    entry_points: dict[str, dict[str, str]]
    files: list[str]


def relative_links(wheel: Wheel) -> list[str]:
    """Links and images of the README that lead nowhere on a package index."""
    text = str(wheel.metadata.get_payload())
    assert text.startswith("# adaptrt")
    return re.findall(r"\]\((?!https://|#)[^)]*\)", text)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Wheel]:
    def wheel_of(project: Path) -> Wheel:
        folder = tmp_path_factory.mktemp("wheel")
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        done = subprocess.run([*command, "-w", folder, project], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (path,) = folder.glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            files = archive.namelist()
            info = next(name.partition("/")[0] for name in files if ".dist-info/" in name)
            points = configparser.ConfigParser()
            points.read_string(archive.read(f"{info}/entry_points.txt").decode())
            metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        return Wheel(path, metadata, {group: dict(points[group]) for group in points.sections()}, files)

    return wheel_of


@pytest.fixture(scope="module")
def core(build: Callable[[Path], Wheel]) -> Wheel:
    return build(ROOT)


@pytest.mark.full
def test_the_catalog_is_inside_the_core(core: Wheel, tmp_path: Path) -> None:
    with zipfile.ZipFile(core.path) as archive:
        archive.extractall(tmp_path)
    assert (tmp_path / "adaptrt" / "catalog.toml").read_bytes() == (ROOT / "plugins.toml").read_bytes()
    # -S: neither this checkout nor any adapter is installed there; numpy and its like are appended by hand
    program = """
import sys
sys.path.append(sys.argv.pop(1))
from importlib import metadata
found = list(metadata.distributions(path=[sys.argv.pop(1)]))
metadata.distributions = lambda **_: found
from adaptrt.cli.main import main
sys.argv = ["adaptrt", "adapters", "--all", "--json"]
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, sysconfig.get_paths()["purelib"], str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["installed"] == []
    assert {row["name"]: row["install"] for row in answer["available"]} == {
        name: f"pip install {entry.distribution}" for name, entry in CATALOG.items()
    }


def test_the_core_is_whole(core: Wheel) -> None:
    sources = {path.relative_to(ROOT / "core").as_posix() for path in (ROOT / "core" / "adaptrt").rglob("*.*")}
    sources = {name for name in sources if "__pycache__" not in name}
    assert sources <= set(core.files)
    assert core.entry_points["console_scripts"].keys() == {"adaptrt", "convert"}
    assert core.metadata["License-Expression"] == "Apache-2.0"
    assert core.metadata["Version"] == __version__
    assert not relative_links(core)


@pytest.mark.full
def test_the_cores_sources_hold_nothing_of_other_distributions(tmp_path: Path) -> None:
    """Their licenses are their own."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if name.count("/")}
    own = {"core", "plugins.toml", "pyproject.toml", "README.md", "LICENSE", "NOTICE"}
    assert top - own <= {"PKG-INFO", ".gitignore"}  # what hatchling adds
    assert own <= top


@pytest.mark.full
def test_a_wheel_is_built_from_its_sources_alone(build: Callable[[Path], Wheel], tmp_path: Path) -> None:
    """Without git, and without the file of the version, which lies in the core."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path]
    subprocess.run(command, cwd=ROOT / "adapters" / "timm", capture_output=True, check=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    wheel = build(tmp_path / f"adaptrt_timm-{__version__}")
    assert wheel.metadata["Version"] == __version__
    assert not relative_links(wheel)


@pytest.mark.full
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_distribution_is_what_the_catalog_says(distribution: str, build: Callable[[Path], Wheel]) -> None:
    entries = {name: entry for name, entry in CATALOG.items() if entry.distribution == distribution}
    wheel = build(ROOT / "adapters" / distribution.removeprefix("adaptrt-"))
    assert wheel.metadata["Name"] == distribution
    assert wheel.entry_points["adaptrt.adapters"].keys() == entries.keys()
    assert {entry.license for entry in entries.values()} == {wheel.metadata["License-Expression"]}
    assert wheel.metadata.get_all("License-File")
    required = {str(Requirement(text)) for text in wheel.metadata.get_all("Requires-Dist", [])}
    for entry in entries.values():
        assert str(Requirement(entry.framework)) in required
        assert entry.examples
    assert any(text.startswith("adaptrt[export]<0.2,>=0.1") for text in required)
    assert wheel.metadata["Version"] == __version__
    assert wheel.metadata["Author"]
    assert not relative_links(wheel), "the package index shows the README, but no file beside it"
    for points in wheel.entry_points.values():
        for target in points.values():
            module = target.partition(":")[0].replace(".", "/")
            assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.files), target


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "extensions").glob("*/pyproject.toml")))
def test_an_extension_is_whole(name: str, build: Callable[[Path], Wheel]) -> None:
    wheel = build(ROOT / "extensions" / name)
    assert wheel.metadata["Name"] == f"adaptrt-{name}"
    assert wheel.metadata["License-Expression"] == "Apache-2.0"
    assert wheel.metadata["Version"] == __version__
    assert not relative_links(wheel)
    assert wheel.metadata.get_all("License-File")
    objects = {  # extensions that take part in no hook
        "openvino": {"adaptrt.backends": {name: f"adaptrt_{name}.backend:BACKEND"}},
        "ray": {"adaptrt.executors": {name: f"adaptrt_{name}:EXECUTOR"}},
        "triton": {"adaptrt.packagers": {name: f"adaptrt_{name}:PACKAGER"}},
    }
    if name in objects:
        assert wheel.entry_points == objects[name]
    else:
        assert wheel.entry_points["adaptrt.extensions"] == {name: f"adaptrt_{name}"}
    sources = {path.name for path in (ROOT / "extensions" / name / f"adaptrt_{name}").glob("*.*")}
    assert {f"adaptrt_{name}/{source}" for source in sources} <= set(wheel.files)
