"""The precision report: compares the precision of the engine's layers with the requested one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptrt.backends.tensorrt.build.kernel_names import kernels_in
from adaptrt.errors import BuildError
from adaptrt.specs import precision_named
from adaptrt.specs.precisions import FP32

_BYTES: Mapping[str, float] = {
    "fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1, "int4": 0.5, "int32": 4, "int64": 8,
}  # fmt: skip

# names of a type in TensorRT 8's descriptions ("Row major linear FP16 format") and in those of 10 ("Half")
_TYPES = (
    ("bf16", re.compile(r"\b(BF16|BFloat16)\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(FP16|Half)\b", re.IGNORECASE)),
    ("fp8", re.compile(r"\b(FP8|E4M3)\b", re.IGNORECASE)),
    ("int8", re.compile(r"\bInt8\b", re.IGNORECASE)),
    ("int4", re.compile(r"\bInt4\b", re.IGNORECASE)),
    ("int32", re.compile(r"\bInt32\b", re.IGNORECASE)),
    ("int64", re.compile(r"\bInt64\b", re.IGNORECASE)),
    ("bool", re.compile(r"\bBool\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(FP32|Float)\b", re.IGNORECASE)),
)
# what the ONNX graph casts or quantizes to
_NAMED = {"float16": "fp16", "bfloat16": "bf16", "int8": "int8", "float8_e4m3fn": "fp8", "int4": "int4"}
_QUANTIZED = ("int4", "int8", "fp8")
_FLOATS = ("bf16", "fp16", *_QUANTIZED, "fp32")
_BOOKKEEPING = re.compile(
    r"reformat|constant|noop|no-op|shape|signal|wait|memcpy|memset|slice$|^cast$|^(de)?quantize$", re.IGNORECASE
)
_NODES = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_OPAQUE = re.compile(r"myelin|ForeignNode", re.IGNORECASE)

# a plan in half precision is about half of float32; kernels and other constants are the rest
_SMALLER = 0.75


@dataclass
class LayerRecord:
    """A layer of the engine: the type it computes in (empty: not shown), and how many weights it has."""

    name: str
    kind: str
    precision: str = ""
    weights: int = 0


@dataclass
class PrecisionReport:
    """The findings.

    ``layers`` and ``weight_bytes`` count the visible layers by the type they compute in; ``opaque`` lists fused parts
    for which the inspector shows no types, ``opaque_share`` is the share of weights in them. ``plan_share`` is the size
    of the plan (or of its weights, if TensorRT reports it) relative to the float32 weights. ``evidence`` describes what
    shows the precision, ``note`` contains a caveat; ``table`` lists all layers. ``preferred`` counts the nodes to keep in
    float32 by the type they run in, if the constraints were only preferences (``unknown``: in opaque parts, or in layers
    without a shown type). If ``inspected`` is false, the layers are
    those of the strongly typed network, because the engine could not be loaded on this machine.
    """

    precision: str
    layers: dict[str, int] = field(default_factory=dict)
    weight_bytes: dict[str, int] = field(default_factory=dict)
    other_layers: int = 0
    opaque: list[str] = field(default_factory=list)
    opaque_share: float = 0.0
    plan_bytes: int = 0
    float32_bytes: int = 0
    plan_share: float = 0.0
    tf32_kernels: int = 0
    evidence: str = ""
    note: str = ""
    table: list[LayerRecord] = field(default_factory=list)
    inspected: bool = True
    preferred: dict[str, int] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One line: layers by type, opaque parts, plan size."""
        parts = [f"{count} layers {name}" for name, count in self.layers.items()]
        if self.opaque:
            parts.append(f"{len(self.opaque)} opaque ({self.opaque_share:.0%} of the weights)")
        parts.append(f"{'plan' if self.inspected else 'weights'} {self.plan_share:.2f} of the float32 weights")
        return ", ".join(parts)


def make_precision_report(
    layers_json: str,
    precision: str,
    *,
    plan_bytes: int,
    float32_bytes: int,
    weight_bytes: int | None = None,
    inspected: bool = True,
    preferred: Sequence[str] = (),
) -> PrecisionReport:
    """Summarize the inspector's JSON; unless ``inspected``, it is that of the typed network in the same format.

    ``float32_bytes`` is the size of the ONNX file's weights in float32; ``weight_bytes`` is their size as reported by
    TensorRT. ``preferred`` names the nodes to keep in float32, if the constraints were only preferences.
    """
    layers: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    types: dict[str, str | None] = {}  # by node
    elements = 0
    precision_report = PrecisionReport(
        precision, plan_bytes=plan_bytes, float32_bytes=float32_bytes, inspected=inspected
    )
    for layer in read_layers(layers_json):
        if isinstance(layer, str):  # names only: built without detailed profiling verbosity
            precision_report.other_layers += 1
            precision_report.table.append(LayerRecord(layer, ""))
            continue
        kind = layer_precision(layer)
        types.update(dict.fromkeys(_NODES.findall(str(layer.get("Metadata", ""))), kind))
        counted, size = _weights(layer)
        opaque = _is_opaque(layer) and not counted  # input and output types do not show the internal precision
        precision_report.table.append(
            LayerRecord(
                str(layer.get("Name", "")), str(layer.get("LayerType", "")), "" if opaque else kind or "", counted
            )
        )
        if opaque:
            precision_report.opaque.append(str(layer.get("Name", "")))
        elif kind in _FLOATS and not _BOOKKEEPING.search(str(layer.get("LayerType", ""))):
            layers[kind] += 1
            weights[kind] += size
            elements += counted
        else:
            precision_report.other_layers += 1
        precision_report.tf32_kernels += "tf32" in str(layer.get("TacticName", "")).lower()
    precision_report.layers = dict(layers.most_common())
    if inspected:  # a network does not show them
        precision_report.weight_bytes = {kind: weights[kind] for kind in precision_report.layers}
    total = float32_bytes // 4
    if precision_report.opaque and total:
        precision_report.opaque_share = max(0.0, 1 - elements / total)
    precision_report.plan_share = (weight_bytes or plan_bytes) / float32_bytes if float32_bytes else 0.0
    precision_report.preferred = dict(Counter(types.get(name) or "unknown" for name in preferred).most_common())
    precision_report.evidence = _evidence(precision_report)
    precision_report.note = _note(precision_report)
    return precision_report


def add_kernel_evidence(precision_report: PrecisionReport, plan: Path) -> None:
    """If opaque parts leave the precision open, look for kernels that compute in it: those of a small network may be larger
    than its weights, so that the size of the plan does not tell."""
    wanted = _computed_in(precision_report.precision)
    if precision_report.evidence or not precision_report.opaque or wanted is None:
        return
    kernels = kernels_in(plan.read_bytes(), wanted)
    if kernels:
        precision_report.evidence = f"the layers are opaque; the plan contains {wanted} kernels ({kernels[0]})"


def require_precision_shown(precision_report: PrecisionReport) -> None:
    """Raise a ``BuildError`` if nothing shows the requested precision."""
    if precision_report.evidence:
        return
    found = (
        ", ".join(f"{count} in {name}" for name, count in precision_report.layers.items()) or "none with a known type"
    )
    raise BuildError(
        f"No evidence of {precision_report.precision} in the engine: visible layers are {found}, "
        f"{len(precision_report.opaque)} parts are opaque, and the plan is {precision_report.plan_share:.2f} of the float32 weights.",
        hint="TensorRT chose another precision. Check the output with -v, remove --keep-fp32, or build with --precision fp32.",
    )


def read_layers(layers_json: str) -> list[dict[str, Any] | str]:
    """The layers of the inspector's JSON; strings where it only knows names."""
    try:
        # layer names contain arbitrary text from the ONNX file, which TensorRT does not escape
        layers = json.loads(layers_json, strict=False).get("Layers", [])
    except (json.JSONDecodeError, AttributeError) as error:
        raise BuildError("The output of TensorRT's engine inspector is not valid JSON.") from error
    return list(layers)


def layer_precision(layer: Mapping[str, Any]) -> str | None:
    """The type a layer computes in: of its weights, else the lowest of its floating inputs; ``None`` if not shown."""
    for key in ("Weights", "Kernel Weights"):
        value = layer.get(key)
        if isinstance(value, Mapping) and value.get("Count"):
            return type_named(str(value.get("Type", "")))
    inputs, outputs = _formats(layer.get("Inputs")), _formats(layer.get("Outputs"))
    for kinds in (inputs, outputs):
        floating = [kind for kind in _FLOATS if kind in kinds]
        if floating:
            return next((kind for kind in _QUANTIZED if kind in floating), floating[0])
    return next(iter([*inputs, *outputs]), None)


def _formats(tensors: Any) -> list[str]:
    """The types of a layer's inputs or outputs, as far as they are shown."""
    found = [
        type_named(str(tensor.get("Format/Datatype", tensor.get("Format", ""))))
        for tensor in (tensors if isinstance(tensors, list) else [])
        if isinstance(tensor, Mapping)
    ]
    return [kind for kind in found if kind]


def type_named(text: str) -> str | None:
    """``Row major linear FP16 format`` or ``Half`` to ``fp16``; ``None`` for ``N/A due to dynamic shapes``."""
    return next((kind for kind, pattern in _TYPES if pattern.search(text)), None)


def _is_opaque(layer: Mapping[str, Any]) -> bool:
    return bool(_OPAQUE.search(f"{layer.get('LayerType', '')} {layer.get('Name', '')}"))


def _weights(layer: Mapping[str, Any]) -> tuple[int, int]:
    """Elements and bytes of a layer's weights and bias."""
    elements = size = 0
    for key in ("Weights", "Kernel Weights", "Bias"):
        value = layer.get(key)
        if isinstance(value, Mapping):
            count = value.get("Count")
            if not isinstance(count, int):
                continue
            elements += count
            size += int(count * _BYTES.get(type_named(str(value.get("Type", ""))) or "", 0))
    return elements, size


def _evidence(precision_report: PrecisionReport) -> str:
    wanted = _computed_in(precision_report.precision)
    if wanted is None:
        return "float32 is TensorRT's default"
    count = precision_report.layers.get(wanted, 0)
    if not precision_report.inspected:
        of = f"{count} of {sum(precision_report.layers.values())} layers of the strongly typed network"
        said = f"the builder reports weights of {precision_report.plan_share:.2f} of float32"
        return f"{of} compute in {wanted}, and {said}; the engine itself was not inspected" if count else ""
    size = f"the plan is {precision_report.plan_share:.2f} of the float32 weights, too small to hold float32"
    if count:
        visible = f"{count} of {sum(precision_report.layers.values())} visible layers compute in {wanted}"
        return f"{visible}, and {size}" if _mostly_opaque(precision_report) and _smaller(precision_report) else visible
    if precision_report.opaque and _smaller(precision_report):
        return f"the layers are opaque; {size}"
    return ""


def _smaller(precision_report: PrecisionReport) -> bool:
    return 0 < precision_report.plan_share < _SMALLER


def _computed_in(precision: str) -> str | None:
    """The type that layers name where they compute in a reduced precision; ``None`` for float32."""
    kind = precision_named(precision)
    return _NAMED.get(kind.quantized_type or kind.onnx_type, precision) if kind.reduced else None


def _mostly_opaque(precision_report: PrecisionReport) -> bool:
    return precision_report.opaque_share > 0.5


def _note(precision_report: PrecisionReport) -> str:
    return "; ".join(filter(None, (_preferred(precision_report), _doubt(precision_report))))


def _preferred(precision_report: PrecisionReport) -> str:
    """Where the nodes to keep in float32 run, if TensorRT did not have to keep them."""
    if not precision_report.preferred:
        return ""
    found = ", ".join(
        f"{count} in {'layers that do not show their type' if kind == 'unknown' else kind}"
        for kind, count in precision_report.preferred.items()
    )
    return (
        f"TensorRT did not build the graph with float32 constraints, so the {sum(precision_report.preferred.values())} nodes to "
        f"keep in float32 are preferences, and run {found}"
    )


def _doubt(precision_report: PrecisionReport) -> str:
    kind = precision_named(precision_report.precision)
    if not kind.reduced and kind != FP32 and not precision_report.tf32_kernels:
        return "TF32 was allowed, but no visible kernel uses it: TensorRT found float32 at least as fast"
    wanted = _computed_in(precision_report.precision)
    shown = precision_report.weight_bytes.get(wanted or "", 0)
    total = sum(precision_report.weight_bytes.values())
    if wanted is not None and total and shown < total / 2:
        return f"most weights of visible layers are not {precision_report.precision}"
    if wanted is not None and _mostly_opaque(precision_report) and not _smaller(precision_report):
        return (
            f"{precision_report.opaque_share:.0%} of the weights are in opaque parts, and the plan is large enough for float32: "
            f"there is no evidence that those parts are in {precision_report.precision}"
        )
    return ""
