"""How the patched Swin is written: the default is the fastest one measured; the others are kept as baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# bias plus mask of all windows as one constant up to this size; beyond, two constants that broadcast
FOLDED_BYTES = 4 << 20


@dataclass(frozen=True)
class Form:
    """``windows``: how tokens get into shifted windows. ``limit``: bytes that bias plus mask of a block may have as one
    constant. ``aligned``: pad the keys of a window to a multiple of eight. ``gelu``: its constants in the weights around it.
    ``transposed``: a transpose instead of a gather where one does."""

    windows: Literal["gather", "slices"] = "gather"
    limit: int = FOLDED_BYTES
    aligned: bool = True
    gelu: bool = True
    transposed: bool = True


DEFAULT = Form()
