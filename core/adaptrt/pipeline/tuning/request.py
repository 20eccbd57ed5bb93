"""What the user requested of a search for the layers that have to stay in a higher precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import OutputError, UsageError
from adaptrt.pipeline.output import require_file
from adaptrt.request import BuildRequest
from adaptrt.specs import precision_named
from adaptrt.specs.precisions import PRECISIONS

if TYPE_CHECKING:
    from adaptrt.specs import Precision


@dataclass(frozen=True)
class TuneRequest(BuildRequest):
    """A search for the layers of an ONNX file that have to stay in a higher precision.

    The loss is that of the main score on ``data``, or, with ``images`` (a folder), the share of predictions that differ,
    in points; ``max_loss`` points are allowed. ``calibration`` may be missing: then a part of the images is used.
    ``blocks``: about how many parts the graph is divided into; ``sensitivity_images`` measure each part alone.
    ``recipe`` is the file to write. ``latency``: build and time engines where it is possible.
    """

    images: Path | None = None
    max_loss: float = 1.0
    blocks: int = 24
    sensitivity_images: int = 8
    recipe: Path | None = None
    latency: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is not None and self.images is not None:
            raise UsageError(
                "--data and --images conflict: the score of labeled images decides, or the agreement on images without labels.",
                hint="Omit one of them. Images to measure ranges on are given with --calib.",
            )
        if self.data is None and self.images is None:
            raise UsageError(
                "tune requires labeled images (--data) or a folder of images (--images).",
                hint="For example: --data val/instances.json",
            )
        recipe = self.recipe
        if recipe is not None:
            if recipe.suffix.lower() != ".toml":
                raise OutputError(f"-o {recipe}: a recipe is a .toml file.", hint=f"For example: -o {recipe.stem}.toml")
            require_file(recipe)
        if not 0 <= self.max_loss <= 100:
            raise UsageError(
                f"--max-loss must be between 0 and 100 points; got {self.max_loss:g}.", hint="For example: 0.5"
            )
        for flag, count in (("--blocks", self.blocks), ("--sensitivity-images", self.sensitivity_images)):
            if count < 1:
                raise UsageError(f"{flag} must be at least 1; got {count}.", hint=f"For example: {flag} 16")

    def _require_quantizing(self, precision: Precision) -> None:
        able = tuned_precisions()
        if precision not in able:
            raise UsageError(
                f"tune does not search for {precision.name}.",
                hint=f"Available: {', '.join(one.name for one in able)}.",
            )


def tuned_precisions() -> list[Precision]:
    """Those that ``tune`` measures in ONNX Runtime: what core quantizes and whose rest is in float16, and that precision."""
    quantized = [
        one
        for one in PRECISIONS.all()
        if one.quantized_by_core and one.rest and precision_named(one.rest).onnx_type == "float16"
    ]
    return [*quantized, *map(precision_named, dict.fromkeys(one.rest for one in quantized))]
