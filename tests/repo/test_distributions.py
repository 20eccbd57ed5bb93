"""plugins.toml, the adapters' own metadata and constraints.txt say the same."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
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


# the core versions that a distribution works with: those of one minor release
CORE = ">=0.1.dev0,<0.2"
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
    assert project["dependencies"] == [f"adaptrt{CORE}"], "its framework is an extra"
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


def test_one_version_in_one_file() -> None:
    for path in [ROOT / "pyproject.toml", *PROJECTS, *EXTENSIONS]:
        content = read(path)
        assert "version" in content["project"]["dynamic"], path
        source = path.parent / content["tool"]["hatch"]["version"]["path"]
        assert source.resolve() == ROOT / "core" / "adaptrt" / "version.py", path


def test_the_core_that_is_required_is_this_one() -> None:
    import adaptrt

    for path in [*PROJECTS, *EXTENSIONS]:
        (required,) = (
            one for text in read(path)["project"]["dependencies"] if (one := Requirement(text)).name == "adaptrt"
        )
        assert str(required.specifier) == str(Requirement(f"adaptrt{CORE}").specifier), path
        assert required.specifier.contains(adaptrt.__version__, prereleases=True), path
    extras = read(ROOT / "pyproject.toml")["project"]["optional-dependencies"]
    adapters = {Requirement(extras[name][0]).name for name in ("timm", "mmdet", "torch", "yolo")}
    assert adapters == {entry["distribution"] for entry in CATALOG.values()}


def test_all_is_permissively_licensed() -> None:
    extras = read(ROOT / "pyproject.toml")["project"]["optional-dependencies"]
    (everything,) = (Requirement(text) for text in extras["all"])
    distributions = {Requirement(extras[name][0]).name for name in everything.extras}
    licenses = {
        name: {entry["license"] for entry in CATALOG.values() if entry["distribution"] == name}
        for name in distributions
    }
    assert set().union(*licenses.values()) == {"Apache-2.0"}
    others = {entry["distribution"] for entry in CATALOG.values() if entry["license"] != "Apache-2.0"}
    assert {Requirement(extras["yolo"][0]).name} == others


def test_authors_and_addresses() -> None:
    core = read(ROOT / "pyproject.toml")["project"]
    assert core["authors"]
    for path in [*PROJECTS, *EXTENSIONS]:
        project = read(path)["project"]
        assert project["authors"] == core["authors"], path
        same = ("Homepage", "Repository", "Issues", "Changelog")
        assert {name: project["urls"][name] for name in same} == {name: core["urls"][name] for name in same}, path


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


def without_tested(text: str, own: str) -> Iterator[int]:
    """Lines of patches that require versions of another distribution than ``own`` and do not say which they were tested with."""
    for node in ast.walk(ast.parse(text)):
        given = {keyword.arg: keyword.value for keyword in node.keywords} if isinstance(node, ast.Call) else {}
        required = given.get("requires")
        if required is None or "tested" in given:
            continue
        if not (isinstance(required, ast.Constant) and Requirement(required.value).name == own):
            yield required.lineno


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_every_patch_has_its_tested_versions(path: Path) -> None:
    own, sources = read(path)["project"]["name"], list(path.parent.rglob("*.py"))
    assert {str(one): list(without_tested(one.read_text("utf-8"), own)) for one in sources} == {
        str(one): [] for one in sources
    }


def test_patches_without_tested_versions_are_found() -> None:
    text = "FunctionPatch(requires=REQUIRES)\nModulePatch(requires='own>=1')\nSwitchPatch(requires='a>1', tested='a<2')"
    assert list(without_tested(text, "own")) == [1]


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
