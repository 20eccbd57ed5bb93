"""What a release consists of: the workflow, the version and its tag, and the files of the changelog."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import adaptrt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
WORKFLOWS = sorted(WORKFLOW.parent.glob("*.yml"))
TOOLS = sorted(path for path in (ROOT / "tools").iterdir() if path.read_bytes().startswith(b"#!"))


def test_the_workflow_builds_tests_and_publishes() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    (build,) = (number for number, command in enumerate(commands) if "tools/build-distributions" in command)
    (tested,) = (number for number, command in enumerate(commands) if "tools/test-wheels" in command)
    assert build < tested
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["if"] == "github.ref_type == 'tag'"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["attach"]["needs"] == "publish"
    kept = {step["with"]["name"] for step in jobs["build"]["steps"] if "upload-artifact" in step.get("uses", "")}
    assert kept == {"distributions", "bill-of-materials"}


@pytest.mark.parametrize(
    ("left", "heading", "passes"),
    [
        ((), "## [1.2.3] - 2030-01-01", True),
        (("new.added.md",), "## [1.2.3] - 2030-01-01", False),
        ((), "## [1.2.2] - 2030-01-01", False),
    ],
)
def test_the_step_that_checks_the_changelog(tmp_path: Path, left: tuple[str, ...], heading: str, passes: bool) -> None:
    """As ``towncrier build`` leaves the folder: with its README and template."""
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    (command,) = (step["run"] for step in steps if "changelog.d" in step.get("run", ""))
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    for name in ("README.md", "template.md.j2", *left):
        (folder / name).touch()
    (tmp_path / "CHANGELOG.md").write_text(f"{heading}\n")
    environment = {**os.environ, "GITHUB_REF_NAME": "v1.2.3"}
    done = subprocess.run(["bash", "-e", "-c", command], cwd=tmp_path, env=environment, check=False)
    assert (done.returncode == 0) is passes


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_no_more_rights_than_they_need(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_tools_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for tool in re.findall(r"\btools/[\w-]+", text):
        assert (ROOT / tool).is_file(), tool
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) - targets <= {"docs"}


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.name)
def test_tools_are_scripts_that_bash_can_read(path: Path) -> None:
    if b"bash" in path.read_bytes().splitlines()[0]:
        subprocess.run(["bash", "-n", path], check=True)
    assert path.stat().st_mode & 0o100, "chmod +x"


def test_a_tag_that_is_not_the_version_is_refused(tmp_path: Path) -> None:
    command = [ROOT / "tools" / "build-distributions", Path(sys.executable).parent, tmp_path / "dist", "v0.0.99"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"The tag is v0.0.99, but core/adaptrt/version.py says {adaptrt.__version__}" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_changes_since_the_release_have_a_kind() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in config["type"]}
    files = [path for path in (ROOT / config["directory"]).glob("*.md") if path.name != "README.md"]
    assert [path.name for path in files if path.name.split(".")[-2] not in kinds] == []
    for path in files:
        assert path.read_text(encoding="utf-8").startswith("- "), f"{path.name} must be a list item"
    assert config["start_string"].strip() in (ROOT / config["filename"]).read_text(encoding="utf-8")
