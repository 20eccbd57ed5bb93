"""Versions of everything that matters, from metadata: nothing is imported for it."""

from __future__ import annotations

import platform
from importlib import metadata

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
