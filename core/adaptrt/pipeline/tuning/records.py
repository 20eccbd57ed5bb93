"""What a search found, for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.specs import precision_named
from adaptrt.specs.precisions import FP32
from adaptrt.specs.recipe import Recipe
from adaptrt.specs.tuning import BlockRecord, Tuning

if TYPE_CHECKING:
    from adaptrt.pipeline.tuning.tune import TuneJob

HALF_BITS = 16
QUANTIZED, HALF = "quantized", "half"
"""What a block alone is measured in."""


def relative_cost(name: str) -> float:
    """Of an operation in this precision: the ratio of peak rates on GPUs with tensor cores, a proxy for time."""
    return precision_named(name).bits / HALF_BITS


def tuning_record(tune: TuneJob, recipe: Recipe, holds: bool) -> Tuning:
    """The search with its blocks and measured points; ``holds``: whether the recipe keeps the limit."""
    total = sum(block.operations for block in tune.blocks) or 1.0
    quantizes = tune.job.precision.form == "qdq"
    used = [one for one in (tune.quantized, tune.half_precision, FP32) if one is not None]
    weights = ", ".join(f"{one.name} {relative_cost(one.name):g}" for one in used)
    labels = tune.request.data is not None
    return Tuning(
        limit=tune.request.max_loss,
        holds=holds,
        loss_of="points of the main score" if labels else "points of predictions that differ (no labels)",
        cost_of=f"operations weighted by precision ({weights}), relative to {tune.half_precision.name}: a proxy, not a time",
        images=len(tune.judge.images.examples),
        blocks=[
            BlockRecord(
                block.name,
                len(block.layers),
                len(block.nodes),
                block.operations / total,
                tune.errors[block.name].get(QUANTIZED),
                tune.errors[block.name].get(HALF),
                tune.precision_of(block, tune.float32, tune.not_int8 if quantizes else None),
            )
            for block in tune.blocks
        ],
        points=tune.points,
        recipe=recipe.text(),
    )
