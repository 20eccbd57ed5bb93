"""Specs: inputs, outputs and pre- and postprocessing of a model. Dataclasses only; nothing heavy is imported here."""

from adaptrt.specs.build import BuildOptions, HardwareCompatible, parse_workspace
from adaptrt.specs.dims import Dim, Shape, format_shape, union
from adaptrt.specs.image import ImageTransform
from adaptrt.specs.language import parse_batch, parse_dynamic, parse_imgsz, parse_min_opt_max, parse_shape, parse_shapes
from adaptrt.specs.model import METADATA_KEY, DecoderSpec, ModelSpec
from adaptrt.specs.precisions import Precision, precision_named
from adaptrt.specs.targets import Target
from adaptrt.specs.tasks import Dataset, Example, Found, Scorer, Scoring, Task, scoring_named, task_named
from adaptrt.specs.tensors import InputSpec, OutputGroup, OutputSpec, Tolerance, Unit

__all__ = [
    "METADATA_KEY",
    "BuildOptions",
    "Dataset",
    "DecoderSpec",
    "Dim",
    "Example",
    "Found",
    "HardwareCompatible",
    "ImageTransform",
    "InputSpec",
    "ModelSpec",
    "OutputGroup",
    "OutputSpec",
    "Precision",
    "Scorer",
    "Scoring",
    "Shape",
    "Target",
    "Task",
    "Tolerance",
    "Unit",
    "format_shape",
    "parse_batch",
    "parse_dynamic",
    "parse_imgsz",
    "parse_min_opt_max",
    "parse_shape",
    "parse_shapes",
    "parse_workspace",
    "precision_named",
    "scoring_named",
    "task_named",
    "union",
]
