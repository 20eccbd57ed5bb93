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

from adaptrt.backends.tensorrt.generations import RTX, can_build
from adaptrt.cli.adapters import installed_adapters
from adaptrt.pipeline.environment import described_packages
from adaptrt.plugins.discovery import ALTERNATIVES, installed_version

PURPOSES = {
    "Predict with ONNX files": "onnx",
    "Convert": "export",
    "Build and run engines": "trt",
    "Build for GeForce RTX": "rtx",
}

# distributions that contain the same modules
_ALSO = {**ALTERNATIVES, "tensorrt": ("tensorrt-cu12", "tensorrt-cu13", "tensorrt-lean", "tensorrt-dispatch")}


def examine() -> dict[str, Any]:
    """Everything that ``doctor`` reports, as plain data."""
    adapters = installed_adapters()
    gpus, no_gpu = find_gpus()
    purposes = [_purpose(name, extra) for name, extra in PURPOSES.items()]
    _, convert, engines, rtx = purposes
    if not any(not adapter["problems"] for adapter in adapters):
        convert["missing"].append("no working adapter: adaptrt adapters --all lists them")
    if not gpus:
        engines["missing"].append(f"no NVIDIA GPU: {no_gpu}")
    if not rtx["missing"] and not can_build(RTX):  # the requirements hold for one platform only
        rtx["missing"].append(f"TensorRT-RTX requires {RTX.needs}")
    broken = [
        f"adapter {adapter['name']} ({adapter['distribution']} {adapter['version']}): {problem}"
        + (f"; {adapter['install']}" if adapter["install"] else "")
        for adapter in adapters
        for problem in adapter["problems"]
    ]
    broken += [f"adaptrt itself: {problem}; pip install --upgrade adaptrt" for problem in _unmet_of_extra("")]
    broken += list(_opencv_problems())
    return {
        "versions": {
            "python": f"{platform.python_version()} ({sys.executable})",
            "platform": platform.platform(terse=True),
            **{package: installed_version(package) for package in described_packages()},
        },
        "gpus": gpus,
        "no_gpu": no_gpu,
        "purposes": purposes,
        "adapters": adapters,
        "broken": broken,
        "notes": list(_notes()),
    }


def _purpose(name: str, extra: str) -> dict[str, Any]:
    missing = _unmet_of_extra(extra)
    return {"name": name, "missing": missing, "install": f"pip install 'adaptrt[{extra}]'" if missing else None}


def _unmet_of_extra(extra: str) -> list[str]:
    """The unmet requirements of an extra of adaptrt; ``""`` is adaptrt without extras."""
    try:
        requirements = list(_requirements(extra))
    except metadata.PackageNotFoundError:  # on PYTHONPATH only
        return ["its requirements are unknown, because adaptrt is not installed: only its source files were found"]
    problems = []
    for requirement in requirements:
        names = (requirement.name, *_ALSO.get(requirement.name, ()))
        found = [version for name in names if (version := installed_version(name)) is not None]
        if not found:
            problems.append(f"{requirement.name}{requirement.specifier} is missing")
        elif not any(requirement.specifier.contains(version, prereleases=True) for version in found):
            problems.append(f"{requirement.name} is {found[0]}, but {requirement.specifier} is required")
    return problems


def _requirements(extra: str) -> Iterator[Requirement]:
    for text in metadata.requires("adaptrt") or []:
        requirement = Requirement(text)
        marker = requirement.marker
        plain = marker is None or marker.evaluate({"extra": ""})
        if plain != (not extra) or (marker is not None and not marker.evaluate({"extra": extra})):
            continue
        if requirement.name == "adaptrt":  # an extra that includes another one
            for inner in requirement.extras:
                yield from _requirements(inner)
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
    done = subprocess.run(
        [sys.executable, "-c", "import cv2"], capture_output=True, text=True, timeout=120, check=False
    )
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
