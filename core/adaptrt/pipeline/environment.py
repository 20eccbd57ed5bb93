"""Versions of everything that matters, from metadata (nothing is imported for it), and where torch may leave files."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

_INDUCTOR_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
PACKAGES = (
    "adaptrt",
    "torch",
    "torchvision",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxsim",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "cuda-python",
    "numpy",
    "opencv-python",
    "ultralytics",
    "timm",
    "mmdet",
)


def describe_environment() -> dict[str, str]:
    """Python, the platform, and each installed package of interest with its version."""
    versions = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


@contextmanager
def inductor_cache(workdir: Path) -> Iterator[None]:
    """Have torch's compiler cache in the work folder: importing torch._dynamo creates one in the shared temporary folder.

    Left alone where the user chose a place.
    """
    if _INDUCTOR_VARIABLE in os.environ:
        yield
        return
    os.environ[_INDUCTOR_VARIABLE] = str(workdir.absolute() / "inductor")
    try:
        yield
    finally:
        os.environ.pop(_INDUCTOR_VARIABLE, None)
