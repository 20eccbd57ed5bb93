"""adaptrt turns PyTorch vision models of any framework into verified ONNX files and TensorRT engines.

``convert``, ``build`` and ``load`` are the main functions; the other names are for adapters and extensions. Importing this
package does not import torch, onnx, onnxruntime, tensorrt or OpenCV.
"""

from __future__ import annotations

import os

# ONNX Runtime reads this when it is loaded: nothing is sent, and no .ses file stays in the temporary folder
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from adaptrt.api import build, convert, load, tune
from adaptrt.contributions import PASS_ORDER, FunctionPatch, GraphPass, Metric, ModulePatch, Patch, SwitchPatch
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
from adaptrt.options import fill_options, fill_settings
from adaptrt.pipeline.bench.calls import bench
from adaptrt.pipeline.bench.records import Benchmark
from adaptrt.pipeline.layers.calls import clean, compare
from adaptrt.pipeline.layers.records import LayerComparison
from adaptrt.pipeline.observer import Observer
from adaptrt.pipeline.predictor import Predictor
from adaptrt.pipeline.processing import Processing
from adaptrt.predictions import (
    Classification,
    Detections,
    ImageMeta,
    Mask,
    Poses,
    Predictions,
    RotatedDetections,
    Segments,
    SemanticMap,
    Values,
)
from adaptrt.report import Finding, Report
from adaptrt.request import Conversion, NmsRequest, Request, ShapeRequest
from adaptrt.specs import (
    BuildOptions,
    Dataset,
    DecoderSpec,
    Dim,
    Example,
    Found,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    Precision,
    Scorer,
    Scoring,
    Task,
    Tolerance,
)
from adaptrt.specs.calibration import CalibrationRequest, LabeledData
from adaptrt.specs.commands import Command
from adaptrt.specs.decoders import Decoder, find_decoder
from adaptrt.specs.recognizers import Match, Recognizer, SourceFacts
from adaptrt.version import __version__

__all__ = [
    "PASS_ORDER",
    "AdaptrtError",
    "Benchmark",
    "BuildError",
    "BuildOptions",
    "CalibrationRequest",
    "CheckpointError",
    "Classification",
    "Command",
    "Conversion",
    "Dataset",
    "Decoder",
    "DecoderSpec",
    "DependencyError",
    "Detections",
    "Dim",
    "EngineError",
    "Example",
    "ExportError",
    "Finding",
    "Found",
    "FunctionPatch",
    "GraphError",
    "GraphPass",
    "ImageError",
    "ImageMeta",
    "ImageTransform",
    "InputSpec",
    "LabeledData",
    "LayerComparison",
    "Mask",
    "Match",
    "Metric",
    "ModelError",
    "ModelSpec",
    "ModulePatch",
    "NmsRequest",
    "Observer",
    "OutputError",
    "OutputGroup",
    "OutputSpec",
    "Patch",
    "PatchError",
    "PluginError",
    "Poses",
    "Precision",
    "Predictions",
    "Predictor",
    "Processing",
    "Recognizer",
    "Report",
    "Request",
    "RotatedDetections",
    "Scorer",
    "Scoring",
    "Segments",
    "SemanticMap",
    "SettingsError",
    "ShapeError",
    "ShapeRequest",
    "SourceFacts",
    "SwitchPatch",
    "Task",
    "Tolerance",
    "UsageError",
    "Values",
    "VerificationError",
    "__version__",
    "bench",
    "build",
    "clean",
    "compare",
    "convert",
    "did_you_mean",
    "fill_options",
    "fill_settings",
    "find_decoder",
    "hookimpl",
    "load",
    "nearest_file",
    "nearest_name",
    "tune",
]
