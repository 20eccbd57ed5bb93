"""The type of a precision, and how precisions are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from adaptrt.specs.registry import Registry
from adaptrt.specs.tensors import Tolerance, Unit


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The precision that a model is computed in. Found by name under the entry-point group ``adaptrt.precisions``.

    - ``bits``: bits per value in most of the network
    - ``form``: how an ONNX graph expresses it: by ``cast`` nodes, by Q/DQ nodes (``qdq``), or not at all (``none``)
    - ``onnx_type``: the element type of tensors that are not quantized, as named in numpy and ml_dtypes
    - ``quantized_type``: that of quantized tensors, with Q/DQ nodes; empty: a signed integer of ``bits`` bits
    - ``tolerances``: accepted differences of outputs, by unit, unless an adapter defines its own
    - ``limits``: limits of the tasks' metrics, by key (``box_iou``, ``score`` ...); tasks have defaults
    - ``perturbation``: one rounding error, relative to the largest value of an input
    - ``rest``: the precision of what a quantized graph leaves in float; empty: float32
    """

    name: str
    bits: int
    form: Literal["none", "cast", "qdq"]
    onnx_type: str
    tolerances: Mapping[Unit, Tolerance]
    perturbation: float
    limits: Mapping[str, float] = field(default_factory=dict)
    rest: str = ""
    quantized_type: str = ""

    def __post_init__(self) -> None:
        if self.form == "qdq" and not self.quantized_type:
            object.__setattr__(self, "quantized_type", f"int{self.bits}")

    @property
    def reduced(self) -> bool:
        """Whether the bulk of the network has fewer bits than float32."""
        return self.form != "none"

    @property
    def quantized_by_core(self) -> bool:
        """Whether core writes its Q/DQ nodes. For any other one, a plugin's ``quantize`` hook or a graph with such nodes is needed."""
        return self.form == "qdq" and self.quantized_type == "int8"


PRECISIONS: Registry[Precision] = Registry("adaptrt.precisions", "precision", Precision)


def precision_named(name: str) -> Precision:
    """The precision with this name; a ``UsageError`` lists the available ones."""
    return PRECISIONS.find(name)
