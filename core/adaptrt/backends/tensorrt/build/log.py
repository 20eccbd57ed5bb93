"""Classifies TensorRT's messages: each class is reported once, with its meaning and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["internal error", "error", "warning", "info", "verbose"]


@dataclass(frozen=True)
class LogClass:
    """A class of messages. ``action`` is empty if nothing has to be done."""

    name: str
    pattern: str
    meaning: str
    action: str = ""


# the first match counts, so specific classes come first
CLASSES = (
    LogClass(
        "weights overflow",
        r"would overflow in (FP16|BF16)|converted them to the closest finite",
        "Weights are too large for half precision and were clamped.",
        "Keep those layers in float32 (--keep-fp32), or use --precision bf16 if the version supports it.",
    ),
    LogClass(
        "subnormal weights",
        r"subnormal (FP16|BF16)|FP16 subnormal|issues when converting weights between types"
        r"|If this is not the desired behavior, please modify the weights|verbose logs for the list of affected weights",
        "Some weights are subnormal in half precision, and are rounded or flushed to zero.",
        "Usually harmless: the comparison with the reference measures the effect.",
    ),
    LogClass(
        "int64 clamped",
        r"outside the range of INT32 was clamped",
        "An int64 value beyond the int32 range was clamped; exporters write such values for open-ended slices.",
        "Harmless in slices; in other cases the comparison with the reference shows the effect.",
    ),
    LogClass(
        "int64 weights",
        r"generated with INT64 weights|INT64 weights, while TensorRT does not natively|Attempting to cast down to INT32"
        r"|INT64 .*(cast|convert).* INT32",
        "The graph contains int64 values (shape arithmetic); this TensorRT computes in int32.",
    ),
    LogClass(
        "skipped tactics",
        r"Tactic Device request|Skipping tactic|insuff?icient (workspace )?memory|do not have sufficient workspace memory"
        r"|Device memory is insufficient",
        "Kernels that need more than the free memory were skipped; the engine may be slower than necessary.",
        "Free GPU memory, increase --workspace, or reduce the maximum shapes.",
    ),
    LogClass(
        "precision not obeyed",
        r"obeys the requested constraints|precision .* (is|are) ignored|No conforming implementation"
        r"|could not satisfy .*precision",
        "A layer has no kernel in the requested precision and runs in another one.",
        "The precision report shows the precision of each layer; extend or remove --keep-fp32.",
    ),
    LogClass(
        "float32 not kept",
        r"nodes to keep in float32",
        "Box decoding, coordinates, or nodes named by --keep-fp32, may run in half precision.",
        "Check the comparison with the reference; TensorRT 10 and later keep such nodes in float32 by strong typing.",
    ),
    LogClass(
        "int8 without scale",
        r"Missing scale and zero-point|fall back to non-int8",
        "A tensor has no int8 scale, so layers around it do not run in int8.",
        "Quantize it in the ONNX graph (Q/DQ nodes), or accept floating point for these layers.",
    ),
    LogClass(
        "layer norm in half",
        r"layernorm .* in FP16 may cause overflow|Running layernorm",
        "A layer normalization runs in half precision, where its sums can overflow.",
        "Use --opset 17 or later, or --keep-fp32 for this layer.",
    ),
    LogClass(
        "several dynamic sizes",
        r"Myelin graph with multiple dynamic values|\(# \d+ \(SHAPE ",
        "One fused subgraph has several dynamic axes; it is slow if their sizes differ.",
        "Make axes static where possible, or use narrower profiles.",
    ),
    LogClass(
        "unused input",
        r"\[RemoveDeadLayers\]|is unused or used only at compile-time",
        "An input of the graph does not affect its outputs.",
        "Remove it from the model, or from --input-names.",
    ),
    LogClass(
        "timing cache",
        r"timing cache",
        "The timing cache is for another GPU or version and was not used.",
        "No action needed: a new one is written. adaptrt cache prune removes old ones.",
    ),
    LogClass(
        "other device",
        r"engine plan file across different models of devices",
        "This engine was built on another model of GPU.",
        "Build it here for full speed and safety.",
    ),
    LogClass(
        "library versions",
        r"was linked against .* but loaded|lazy loading is not enabled",
        "The CUDA libraries differ from those that TensorRT was linked against.",
        "Usually harmless; a possible cause if something fails.",
    ),
    LogClass(
        "deprecated",
        r"deprecated",
        "A deprecated TensorRT feature is in use.",
    ),
    LogClass(
        "no GPU",
        r"CUDA initialization failure|Unable to determine GPU memory usage|no CUDA-capable device",
        "TensorRT sees no usable NVIDIA GPU.",
        "Check nvidia-smi and CUDA_VISIBLE_DEVICES.",
    ),
)

_PATTERNS = [(kind, re.compile(kind.pattern, re.IGNORECASE)) for kind in CLASSES]
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")

# TensorRT's messages for failed builds, and what to do
_FAILURES = (
    (
        r"out of memory|OutOfMemory|cudaErrorMemoryAllocation|Requested amount of GPU memory",
        "The GPU is out of memory: free memory, reduce --workspace, or reduce the maximum shapes.",
    ),
    (
        r"precision constraint|obey|OBEY_PRECISION",
        "A layer cannot run in its constrained precision: narrow --keep-fp32.",
    ),
    (
        r"incorrectly marked as an int8 node",
        "TensorRT has no implementation of an int8 layer as it is quantized: keep it in float (--keep-fp16), or quantize the "
        "float32 file with adaptrt quantize.",
    ),
    (
        r"Could not find any implementation",
        "No suitable kernel: increase --workspace, free GPU memory, or use another --precision or --opt-level.",
    ),
    (
        r"libnvinfer_lean|lean runtime",
        "A version-compatible engine requires the lean runtime: pip install tensorrt-lean",
    ),
    (
        r"builder_resource|Unable to load library",
        "A TensorRT library is missing: check that the installation is complete.",
    ),
    (
        r"CUDA initialization failure|no CUDA-capable device",
        "No usable NVIDIA GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES.",
    ),
    (
        r"has no runners that implement it",
        "An operator has no kernel in this library: adaptrt lint MODEL.onnx --target rtx names it.",
    ),
    (
        r"HW-specific datatypes",
        "A compute capability does not support a type of the graph: remove it from --compute-capability.",
    ),
    (
        r"CHECK\(status == CUDA_SUCCESS\) failed|CUDA driver version is insufficient",
        "This part of the build requires a CUDA device: remove --refittable and --strip-weights, or build on a machine with a GPU.",
    ),
    (
        r"getPluginCreator|plugin.*not found|Plugin not found",
        "A plugin is missing: specify its library with --plugin-lib.",
    ),
)


@dataclass
class LogNote:
    """A class of received messages: their number, and the first of them."""

    name: str
    count: int
    example: str
    meaning: str = ""
    action: str = ""
    severity: Severity = "warning"

    def __str__(self) -> str:
        if not self.meaning:
            return f"TensorRT: {self.example}"
        return f"TensorRT, {self.name}: {self.meaning}{f' {self.action}' if self.action else ''}"


def classify(message: str) -> LogClass | None:
    """The class of a message; ``None`` if unknown."""
    return next((kind for kind, pattern in _PATTERNS if pattern.search(message)), None)


class LogCollector:
    """Collects messages: one note per class, and one per unknown warning (ignoring numbers)."""

    def __init__(self) -> None:
        self._notes: dict[str, LogNote] = {}
        self.errors: list[str] = []

    def add(self, severity: Severity, message: str) -> LogNote | None:
        """The note, if this is the first message of its class."""
        if severity in ("error", "internal error"):
            self.errors.append(message.strip())
        if severity in ("info", "verbose"):
            return None
        kind = classify(message)
        key = kind.name if kind else _NUMBERS.sub("0", message)
        if key in self._notes:
            self._notes[key].count += 1
            return None
        text = " ".join(message.split())
        self._notes[key] = (
            LogNote(kind.name, 1, text, kind.meaning, kind.action, severity)
            if kind
            else LogNote("other", 1, text, severity=severity)
        )
        return self._notes[key]

    @property
    def notes(self) -> list[LogNote]:
        return list(self._notes.values())


def explain_failure(errors: Sequence[str]) -> str | None:
    """What to do about a failed build, from TensorRT's messages."""
    text = "\n".join(errors)
    return next((hint for pattern, hint in _FAILURES if re.search(pattern, text, re.IGNORECASE)), None)
