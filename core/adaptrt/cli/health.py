"""What is installed, what is missing for each purpose, and what is broken. Nothing heavy is imported into this process."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from adaptrt.backends.choice import default_target
from adaptrt.cli.adapters import installed_adapters
from adaptrt.errors import AdaptrtError
from adaptrt.pipeline.environment import described_packages
from adaptrt.plugins.discovery import ALTERNATIVES, installed_version
from adaptrt.python_process import program_command
from adaptrt.specs.backend_parts import NamesSetup
from adaptrt.specs.backends import BACKENDS, Backend, runs_onnx
from adaptrt.specs.commands import COMMANDS
from adaptrt.specs.executors import EXECUTORS
from adaptrt.specs.packagers import PACKAGERS

# what each purpose requires; those of backends follow
PURPOSES = {"Predict with ONNX files": "adaptrt[onnx]", "Convert": "adaptrt[export]"}

# plugins that take no part in conversions
_OTHER_GROUPS = (EXECUTORS.group, PACKAGERS.group, COMMANDS.group)

# distributions that contain the same modules
_ALSO = {**ALTERNATIVES, "tensorrt": ("tensorrt-cu12", "tensorrt-cu13", "tensorrt-lean", "tensorrt-dispatch")}


def examine() -> dict[str, Any]:
    """Everything that ``doctor`` reports, as plain data."""
    adapters = installed_adapters()
    gpus, no_gpu = find_gpus()
    predict, convert = (_purpose(name, requirement) for name, requirement in PURPOSES.items())
    if not any(not adapter["problems"] for adapter in adapters):
        convert["missing"].append("no working adapter: adaptrt adapters --all lists them")
    purposes = [predict, convert, *(_purpose_of(backend) for backend in BACKENDS.all() if not runs_onnx(backend))]
    broken = [
        f"adapter {adapter['name']} ({adapter['distribution']} {adapter['version']}): {problem}"
        + (f"; {adapter['install']}" if adapter["install"] else "")
        for adapter in adapters
        for problem in adapter["problems"]
    ]
    broken += [f"adaptrt itself: {problem}; pip install --upgrade adaptrt" for problem in _unmet("adaptrt")]
    broken += list(_opencv_problems())
    return {
        "versions": {
            "python": f"{platform.python_version()} ({sys.executable})",
            "platform": platform.platform(terse=True),
            **{package: installed_version(package) for package in described_packages(*_OTHER_GROUPS)},
        },
        "gpus": gpus,
        "no_gpu": no_gpu,
        "purposes": purposes,
        "adapters": adapters,
        "broken": broken,
        "notes": list(_notes()),
    }


def _purpose(name: str, requirement: str) -> dict[str, Any]:
    missing = _unmet(requirement)
    return {"name": name, "missing": missing, "install": f"pip install '{requirement}'" if missing else None}


def _purpose_of(backend: Backend) -> dict[str, Any]:
    """What a backend lacks: requirements, else what it says itself, such as a GPU."""
    if isinstance(backend, NamesSetup):
        found = _purpose(backend.purpose, backend.requirement)
    else:
        found = _purpose(f"Build with {backend.title}", "")
    if not found["missing"]:
        try:
            reason = backend.unavailable(next(iter(backend.targets.values()), default_target()))
        except AdaptrtError as error:
            reason = error.message
        found["missing"] += [reason] if reason else []
    return found


def _unmet(requirement: str) -> list[str]:
    """The unmet requirements of a distribution with its extras, ``adaptrt[trt]``; nothing is required of ``""``."""
    if not requirement:
        return []
    wanted = Requirement(requirement)
    try:
        needed = [one for extra in wanted.extras or {""} for one in _requirements(wanted.name, extra)]
    except metadata.PackageNotFoundError:  # on PYTHONPATH only
        return [
            f"its requirements are unknown, because {wanted.name} is not installed: only its source files were found"
        ]
    problems = []
    for one in needed:
        names = (one.name, *_ALSO.get(one.name, ()))
        found = [version for name in names if (version := installed_version(name)) is not None]
        if not found:
            problems.append(f"{one.name}{one.specifier} is missing")
        elif not any(one.specifier.contains(version, prereleases=True) for version in found):
            problems.append(f"{one.name} is {found[0]}, but {one.specifier} is required")
    return problems


def _requirements(distribution: str, extra: str) -> Iterator[Requirement]:
    """What an extra requires; ``""``: what is required in any case."""
    for text in metadata.requires(distribution) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        plain = marker is None or marker.evaluate({"extra": ""})
        if plain != (not extra) or (marker is not None and not marker.evaluate({"extra": extra})):
            continue
        if requirement.name == distribution:  # an extra that includes another one
            for inner in requirement.extras:
                yield from _requirements(distribution, inner)
        else:
            yield requirement


def find_gpus() -> tuple[list[dict[str, str]], str]:
    """The GPUs that nvidia-smi lists, else why it lists none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return [], "nvidia-smi not found"
    fields = "name,driver_version,memory.total,compute_cap"
    command = [tool, f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi failed: {error}"
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.count(",") == 3]
    if done.returncode or not rows:
        return [], ((done.stderr or done.stdout).strip().splitlines() or ["nvidia-smi lists no GPU"])[0]
    return [dict(zip(("name", "driver", "memory", "compute"), row, strict=True)) for row in rows], ""


def _opencv_problems() -> Iterator[str]:
    """OpenCV is imported in a separate process: only an import shows which libraries it lacks."""
    if not any(installed_version(name) for name in ("opencv-python", *_ALSO["opencv-python"])):
        return
    done = subprocess.run(program_command("import cv2"), capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it crashes"])[-1]
        library = "libGL" in last or "libgthread" in last
        yield f"OpenCV cannot be imported: {last}" + ("; apt-get install libgl1 libglib2.0-0" if library else "")


def _notes() -> Iterator[str]:
    opencv = [name for name in ("opencv-python", *_ALSO["opencv-python"]) if installed_version(name)]
    if len(opencv) > 1:
        yield (
            f"{' and '.join(opencv)} write to the same folder and break each other: "
            f"pip uninstall -y {' '.join(opencv)}; pip install opencv-python"
        )
    if installed_version("onnxruntime") and installed_version("onnxruntime-gpu"):
        yield (
            "onnxruntime and onnxruntime-gpu write to the same folder: "
            "pip uninstall -y onnxruntime onnxruntime-gpu; pip install onnxruntime-gpu"
        )
