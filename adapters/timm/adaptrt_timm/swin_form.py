"""How the patched Swin is written: the default is the fastest one measured; the others are kept as baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# bias plus mask of all windows as one constant up to this size; beyond, two constants that broadcast
FOLDED_BYTES = 4 << 20


@dataclass(frozen=True)
class Form:
    """``windows``: how tokens are moved to shifted windows. ``limit``: maximum bytes of the combined constant for bias and
    mask of a block. ``aligned``: pad the keys of a window to a multiple of eight. ``gelu``: fold its constants into the
    adjacent weights. ``transposed``: use a transpose instead of a gather where possible."""

    windows: Literal["gather", "slices"] = "gather"
    limit: int = FOLDED_BYTES
    aligned: bool = True
    gelu: bool = True
    transposed: bool = True


DEFAULT = Form()
