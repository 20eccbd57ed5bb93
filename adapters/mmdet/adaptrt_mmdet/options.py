"""Options of the adapters, filled by ``--set``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from adaptrt import UsageError

MOST = 3840  # what TensorRT's TopK takes


@dataclass(frozen=True)
class MmdetOptions:
    """Options of all mmdet adapters.

    - ``cfg.KEY=VALUE``: overrides of the config, in the syntax of mmengine's ``--cfg-options``
    - ``raw``: the heads' raw outputs; those of one-stage detectors are decoded in numpy then
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("images", "masks")

    cfg: dict[str, Any] = field(default_factory=dict)
    raw: bool = False


@dataclass(frozen=True)
class OneAndTwoStageOptions(MmdetOptions):
    """Additional options of the adapter ``mmdet``, for two-stage detectors.

    - ``nms_rounds``: rounds of Cluster-NMS, for proposals and for detections; 20 if not given
    - ``nms_candidates``: how many pairs of proposal and class enter the last NMS; 1000 if not given
    """

    nms_rounds: int | None = None
    nms_candidates: int | None = None

    def __post_init__(self) -> None:
        for name in ("nms_rounds", "nms_candidates"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST:
                raise UsageError(
                    f"{name} must be from 1 to {MOST}; got {value}.", hint=f"For example: --set {name}=500"
                )


@dataclass(frozen=True)
class DetrOptions(MmdetOptions):
    """Additional options of the DETR family.

    - ``padding``: ``none`` resizes images to the full input size; ``mask`` keeps their aspect ratio and adds an input
      that marks the padding pixels
    """

    padding: str = "none"

    def __post_init__(self) -> None:
        if self.padding not in ("none", "mask"):
            raise UsageError(
                f"padding must be 'none' or 'mask'; got {self.padding!r}.",
                hint="--set padding=mask adds the mask as a second input; --set padding=none resizes images to the input size.",
            )
