"""The user's description of a model file that adaptrt did not write."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Adoption:
    """Each field may be omitted if the file itself defines it.

    ``decoder``: the name of the decoder of its outputs. ``imgsz``: height and width of the input, pixels. ``names``: the
    class names.
    """

    decoder: str | None = None
    imgsz: tuple[int, int] | None = None
    names: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.decoder is not None or self.imgsz is not None or bool(self.names)
