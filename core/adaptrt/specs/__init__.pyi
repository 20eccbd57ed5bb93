from .build import BuildOptions, HardwareCompatible, parse_workspace
from .dims import Dim, Shape, format_shape, union
from .image import ImageTransform
from .language import parse_batch, parse_dynamic, parse_imgsz, parse_min_opt_max, parse_shape, parse_shapes
from .model import METADATA_KEY, DecoderSpec, ModelSpec
from .precisions import Precision, precision_named
from .targets import Target
from .tasks import Dataset, Example, Found, Scorer, Scoring, Task, scoring_named, task_named
from .tensors import InputSpec, OutputGroup, OutputSpec, Tolerance, Unit

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
