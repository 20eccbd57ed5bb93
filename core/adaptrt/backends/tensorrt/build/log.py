"""TensorRT's messages, sorted: each class is said once, with what it means and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["internal error", "error", "warning", "info", "verbose"]


@dataclass(frozen=True)
class LogClass:
    """A kind of message. ``action`` is empty where nothing has to be done."""

    name: str
    pattern: str
    meaning: str
    action: str = ""


# the first that matches counts, so the special ones come first
CLASSES = (
    LogClass(
        "weights overflow",
        r"would overflow in (FP16|BF16)|converted them to the closest finite",
        "Weights are too large for half precision and were cut off.",
        "Keep those layers in float32 (--keep-fp32), or use --precision bf16 where the version has it.",
    ),
    LogClass(
        "subnormal weights",
        r"subnormal (FP16|BF16)|FP16 subnormal|issues when converting weights between types"
        r"|If this is not the desired behavior, please modify the weights|verbose logs for the list of affected weights",
        "Some weights are so small that half precision rounds them, to zero in the end.",
        "Usually harmless: the comparison with the reference measures what it costs.",
    ),
    LogClass(
        "int64 clamped",
        r"outside the range of INT32 was clamped",
        "An int64 number beyond int32 was cut off; exporters write such numbers for 'to the end' in slices.",
        "Harmless there; the comparison with the reference would show anything else.",
    ),
    LogClass(
        "int64 weights",
        r"generated with INT64 weights|INT64 weights, while TensorRT does not natively|Attempting to cast down to INT32"
        r"|INT64 .*(cast|convert).* INT32",
        "The graph holds int64 numbers (shape arithmetic); this TensorRT computes with int32.",
    ),
    LogClass(
        "skipped tactics",
        r"Tactic Device request|Skipping tactic|insuff?icient (workspace )?memory|do not have sufficient workspace memory"
        r"|Device memory is insufficient",
        "Kernels that need more memory than was free were left out; the engine may be slower than it could be.",
        "Free GPU memory, raise --workspace, or use smaller maximal shapes.",
    ),
    LogClass(
        "precision not obeyed",
        r"obeys the requested constraints|precision .* (is|are) ignored|No conforming implementation"
        r"|could not satisfy .*precision",
        "A layer had no kernel in the precision asked for and runs in another.",
        "The precision report shows what each layer became; widen or drop --keep-fp32.",
    ),
    LogClass(
        "float32 not kept",
        r"nodes that were to stay float32",
        "Box decoding, or what --keep-fp32 names, may run in half precision.",
        "Look at the comparison with the reference; TensorRT 10 and later hold such nodes by type.",
    ),
    LogClass(
        "int8 without scale",
        r"Missing scale and zero-point|fall back to non-int8",
        "A tensor has no int8 scale, so layers around it do not run in int8.",
        "Quantize it in the ONNX graph (Q/DQ nodes), or accept float there.",
    ),
    LogClass(
        "layer norm in half",
        r"layernorm .* in FP16 may cause overflow|Running layernorm",
        "A layer normalization runs in half precision, where its sums can overflow.",
        "Use --opset 17 or later, or --keep-fp32 on it.",
    ),
    LogClass(
        "several dynamic sizes",
        r"Myelin graph with multiple dynamic values|\(# \d+ \(SHAPE ",
        "Several dynamic axes meet in one fused part; it is slow where they differ.",
        "Fix the axes that need not be dynamic, or give narrower profiles.",
    ),
    LogClass(
        "unused input",
        r"\[RemoveDeadLayers\]|is unused or used only at compile-time",
        "An input of the graph has no effect on its outputs.",
        "Leave it out of the model, or of --input-names.",
    ),
    LogClass(
        "timing cache",
        r"timing cache",
        "The timing cache does not fit this GPU or version and was not used.",
        "Nothing: a new one is written. adaptrt cache prune removes old ones.",
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
        "CUDA libraries here are not quite those that TensorRT was made with.",
        "Usually harmless; keep it in mind if something fails.",
    ),
    LogClass(
        "deprecated",
        r"deprecated",
        "Something that a later TensorRT drops is in use.",
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

# what a failed build was about, in TensorRT's words, and what helps
_FAILURES = (
    (
        r"out of memory|OutOfMemory|cudaErrorMemoryAllocation|Requested amount of GPU memory",
        "The GPU's memory is full: free some, lower --workspace, or use smaller maximal shapes.",
    ),
    (
        r"precision constraint|obey|OBEY_PRECISION",
        "A layer cannot run in the precision it was given: narrow --keep-fp32.",
    ),
    (
        r"Could not find any implementation",
        "No kernel fits: raise --workspace, free GPU memory, or choose another --precision or --opt-level.",
    ),
    (r"libnvinfer_lean|lean runtime", "A version-compatible engine needs the lean runtime: pip install tensorrt-lean"),
    (
        r"builder_resource|Unable to load library",
        "A library of TensorRT is missing: check that the installation is whole.",
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
        "A compute capability lacks a type of the graph: leave it out of --compute-capability.",
    ),
    (
        r"CHECK\(status == CUDA_SUCCESS\) failed|CUDA driver version is insufficient",
        "This part of the build needs a CUDA device: leave out --refittable and --strip-weights, or build where a GPU is.",
    ),
    (
        r"getPluginCreator|plugin.*not found|Plugin not found",
        "A plugin is missing: give its library with --plugin-lib.",
    ),
)


@dataclass
class LogNote:
    """A class of messages that came, how often, and the first of them."""

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
    """The class of a message; ``None`` if it is of no known one."""
    return next((kind for kind, pattern in _PATTERNS if pattern.search(message)), None)


class LogCollector:
    """Takes messages; keeps one note for each class, and one for each unknown warning (numbers aside)."""

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
    """What to do about a failed build, from what TensorRT said."""
    text = "\n".join(errors)
    return next((hint for pattern, hint in _FAILURES if re.search(pattern, text, re.IGNORECASE)), None)
