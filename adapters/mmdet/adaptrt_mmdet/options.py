"""Options of the adapters, filled by ``--set``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from adaptrt import UsageError


@dataclass(frozen=True)
class MmdetOptions:
    """Options of all mmdet adapters.

    - ``cfg.KEY=VALUE``: overrides of the config, in the syntax of mmengine's ``--cfg-options``
    - ``raw``: the heads' raw outputs, without decoding
    """

    INPUTS: ClassVar[tuple[str, ...]] = ("images", "masks")

    cfg: dict[str, Any] = field(default_factory=dict)
    raw: bool = False


@dataclass(frozen=True)
class DetrOptions(MmdetOptions):
    """Additional options of the DETR family.

    - ``padding``: ``none`` resizes images to the whole tensor; ``mask`` keeps their aspect ratio and adds an input that
      marks the padding pixels
    """

    padding: str = "none"

    def __post_init__(self) -> None:
        if self.padding not in ("none", "mask"):
            raise UsageError(
                f"padding must be 'none' or 'mask'; got {self.padding!r}.",
                hint="--set padding=mask exports the mask as a second input; --set padding=none resizes images to the tensor.",
            )
