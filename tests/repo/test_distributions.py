"""plugins.toml, the adapters' own metadata and constraints.txt say the same."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECTS = sorted((ROOT / "adapters").glob("*/pyproject.toml"))
EXTENSIONS = sorted((ROOT / "extensions").glob("*/pyproject.toml"))
GROUPS = ("adaptrt.extensions", "adaptrt.backends", "adaptrt.executors", "adaptrt.packagers")


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


CATALOG = read(ROOT / "plugins.toml")["adapters"]


def test_the_catalog_lists_every_adapter() -> None:
    declared = {
        name: project["name"]
        for project in (read(path)["project"] for path in PROJECTS)
        for name in project.get("entry-points", {}).get("adaptrt.adapters", {})
    }
    assert declared == {name: entry["distribution"] for name, entry in CATALOG.items()}


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_the_catalog_agrees_with_the_metadata(path: Path) -> None:
    project = read(path)["project"]
    requirements = {Requirement(text).name: text for text in project["dependencies"]}
    for name in project["entry-points"]["adaptrt.adapters"]:
        entry = CATALOG[name]
        assert entry["license"] == project["license"]
        assert entry["framework"] == requirements[Requirement(entry["framework"]).name]


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_a_job_of_the_ci_finds_its_tests(path: Path) -> None:
    name = path.parent.name
    assert list((ROOT / "tests" / "adapters" / name).rglob("test_*.py"))
    assert read(path)["project"]["name"] == f"adaptrt-{name}"
    assert f"folder: {name}}}" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXTENSIONS, ids=lambda path: path.parent.name)
def test_an_extension_is_named_after_its_folder(path: Path) -> None:
    project, name = read(path)["project"], path.parent.name
    assert project["name"] == f"adaptrt-{name}"
    ((group, points),) = project["entry-points"].items()
    assert group in GROUPS
    assert list(points) == [name]
    assert points[name].partition(":")[0].split(".")[0] == f"adaptrt_{name}"
    assert project["dependencies"] == ["adaptrt"], "its framework is an extra"
    assert project["license"] == "Apache-2.0"
    assert (path.parent / "LICENSE").read_bytes() == (ROOT / "adapters" / "timm" / "LICENSE").read_bytes()


@pytest.mark.parametrize("path", [*PROJECTS, *EXTENSIONS], ids=lambda path: path.parent.name)
def test_entry_points_name_modules_that_exist(path: Path) -> None:
    for points in read(path)["project"]["entry-points"].values():
        for value in points.values():
            source = path.parent.joinpath(*value.partition(":")[0].split("."))
            assert source.with_suffix(".py").exists() or (source / "__init__.py").exists(), value


@pytest.mark.parametrize("path", [ROOT / "pyproject.toml", *PROJECTS, *EXTENSIONS], ids=lambda path: path.parent.name)
def test_what_is_installed_is_pinned(path: Path) -> None:
    content = read(path)
    project = content["project"]
    wanted = project["dependencies"] + project.get("optional-dependencies", {}).get("export", [])
    wanted += [text for group in content.get("dependency-groups", {}).values() for text in group]
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    names = {Requirement(text).name for text in wanted}
    assert {name for name in names if not name.startswith("adaptrt")} <= pinned, "run make constraints"


def test_one_version_for_all() -> None:
    import adaptrt

    projects = [ROOT / "pyproject.toml", *PROJECTS, *EXTENSIONS]
    versions = {read(path)["project"]["version"] for path in projects}
    assert versions == {adaptrt.__version__}


def test_one_opencv() -> None:
    for path in [ROOT / "pyproject.toml", *PROJECTS, *EXTENSIONS]:
        assert "headless" not in path.read_text(encoding="utf-8")


def test_the_contracts_cover_every_adapter_and_extension() -> None:
    folders = [*(ROOT / "adapters").glob("*/adaptrt_*"), *(ROOT / "extensions").glob("*/adaptrt_*")]
    packages = {path.name for path in folders if (path / "__init__.py").exists()}
    linter = read(ROOT / "pyproject.toml")["tool"]["importlinter"]
    assert set(linter["root_packages"]) == {"adaptrt", *packages}
    for contract in linter["contracts"]:
        if contract["name"].startswith("Adapters"):
            assert set(contract.get("modules") or contract["source_modules"]) == packages, contract["name"]
        if contract["name"].startswith("Core"):
            assert packages <= set(contract["forbidden_modules"])


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_patches_are_tested_with_what_the_suite_runs(path: Path) -> None:
    """From the oldest version that is supported (``make test-full`` runs it) to the pinned one."""
    pinned = dict(
        re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    supported = {Requirement(text).name: Requirement(text) for text in read(path)["project"]["dependencies"]}
    for source in path.parent.rglob("*.py"):
        for text in re.findall(r"(?i)\btested ?= ?\"([^\"]+)\"", source.read_text(encoding="utf-8")):
            tested = Requirement(text)
            bounds = {bound.operator: bound.version for bound in tested.specifier}
            oldest = [bound.version for bound in supported[tested.name].specifier if bound.operator == ">="]
            assert bounds == {">=": oldest[0], "<=": pinned[tested.name]}, source
