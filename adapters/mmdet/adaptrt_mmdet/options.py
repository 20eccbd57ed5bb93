"""Options of the adapters, filled by ``--set``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adaptrt import UsageError


@dataclass(frozen=True)
class MmdetOptions:
    """What every adapter of mmdet takes.

    - ``cfg.KEY=VALUE``: overrides of the config, in the syntax of mmengine's ``--cfg-options``
    - ``raw``: the heads' outputs as they are, nothing decoded
    """

    cfg: dict[str, Any] = field(default_factory=dict)
    raw: bool = False


@dataclass(frozen=True)
class DetrOptions(MmdetOptions):
    """And what the DETR family takes.

    - ``padding``: ``none`` resizes images to the whole tensor; ``mask`` keeps their ratio and adds an input that says
      which pixels are padding
    """

    padding: str = "none"

    def __post_init__(self) -> None:
        if self.padding not in ("none", "mask"):
            raise UsageError(
                f"padding is {self.padding!r}: a DETR sees padding as image unless it is masked.",
                hint="--set padding=mask exports the mask as a second input; --set padding=none resizes images to the tensor.",
            )
