"""``--set key=value`` of both adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from adaptrt.checkpoint import literal_value
from adaptrt.labels import LabelOptions


@dataclass(frozen=True)
class TimmOptions(LabelOptions):
    """Options of both adapters.

    - ``model``: the timm model that the weights belong to, unless a config next to them says so
    - ``num_classes``: size of the head, 0 for embeddings; default: that of the weights, else that of the model
    - ``labels``: a text file with one class name per line, or a JSON list
    - ``mean``, ``std``: normalization, one value per channel, of values 0 to 1; default: the model's config
    - ``crop_pct``, ``crop_mode``: how images are cropped; default: the model's config
    - ``features_only``, ``out_indices``: feature maps instead of classes, of all stages or of these: ``[1, 3]``
    - ``model_args``: other arguments of timm's constructor: ``--set model_args.window_size=14``
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("images",)

    model: str | None = None
    num_classes: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    features_only: bool = False
    out_indices: tuple[int, ...] | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    model_args: dict[str, Any] = field(default_factory=dict)

    @property
    def constructor_args(self) -> dict[str, Any]:
        """``model_args`` with strings parsed as Python literals: ``"(7, 14)"`` is a tuple."""
        return {name: _literal(value) for name, value in self.model_args.items()}


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return literal_value(value)
    except ValueError:
        return value
