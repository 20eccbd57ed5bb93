"""adaptrt turns PyTorch vision models of any framework into verified ONNX files and TensorRT engines.

``convert``, ``build`` and ``load`` are the calls; the rest is what adapters and extensions are written with. Importing this
package imports none of torch, onnx, onnxruntime, tensorrt or OpenCV.
"""

from __future__ import annotations

import os

# ONNX Runtime reads this when it is loaded: nothing is sent, and no .ses file stays in the temporary folder
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from adaptrt.api import build, convert, load
from adaptrt.contributions import FunctionPatch, GraphPass, Metric, ModulePatch, Patch, SwitchPatch
from adaptrt.errors import (
    AdaptrtError,
    BuildError,
    CheckpointError,
    DependencyError,
    EngineError,
    ExportError,
    GraphError,
    ImageError,
    ModelError,
    OutputError,
    PatchError,
    PluginError,
    SettingsError,
    ShapeError,
    UsageError,
    VerificationError,
    did_you_mean,
    nearest_file,
    nearest_name,
)
from adaptrt.hookspecs import hookimpl
from adaptrt.predictions import Classification, Decoder, Detections, ImageMeta, Predictions, Values
from adaptrt.report import Report
from adaptrt.request import Conversion, Request, ShapeRequest
from adaptrt.specs import (
    BuildOptions,
    DecoderSpec,
    Dim,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    Tolerance,
)
from adaptrt.version import __version__

__all__ = [
    "AdaptrtError",
    "BuildError",
    "BuildOptions",
    "CheckpointError",
    "Classification",
    "Conversion",
    "Decoder",
    "DecoderSpec",
    "DependencyError",
    "Detections",
    "Dim",
    "EngineError",
    "ExportError",
    "FunctionPatch",
    "GraphError",
    "GraphPass",
    "ImageError",
    "ImageMeta",
    "ImageTransform",
    "InputSpec",
    "Metric",
    "ModelError",
    "ModelSpec",
    "ModulePatch",
    "OutputError",
    "OutputGroup",
    "OutputSpec",
    "Patch",
    "PatchError",
    "PluginError",
    "Predictions",
    "Report",
    "Request",
    "SettingsError",
    "ShapeError",
    "ShapeRequest",
    "SwitchPatch",
    "Tolerance",
    "UsageError",
    "Values",
    "VerificationError",
    "__version__",
    "build",
    "convert",
    "did_you_mean",
    "hookimpl",
    "load",
    "nearest_file",
    "nearest_name",
]
