"""Loads a network of either family from the source named by the user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import CheckpointError, Conversion
from adaptrt_ultralytics.checkpoints import open_checkpoint
from adaptrt_ultralytics.new_family import DecodedOutput
from adaptrt_ultralytics.rebuild import load_new_family, network_from_checkpoint

if TYPE_CHECKING:
    from adaptrt_ultralytics.classic.model import ClassicModel


def load_new(ctx: Conversion) -> DecodedOutput:
    """Load a network of the new family from a checkpoint or by config name."""
    source = ctx.request.weights or ctx.request.source
    return DecodedOutput(load_new_family(source, trust=ctx.request.trust_checkpoint)).eval()


def load_any(ctx: Conversion) -> ClassicModel | DecodedOutput:
    """Load a network of either family; the file determines which.

    The file is first read as data. ``--trust-checkpoint`` matters only if that is rejected, and never for the classic
    family, whose code is not installed.
    """
    source = Path(ctx.request.weights or ctx.request.source)
    if source.suffix in (".yaml", ".yml") or (not source.suffix and not source.exists()):
        return load_new(ctx)
    try:
        checkpoint = open_checkpoint(source)
    except CheckpointError:
        if ctx.request.trust_checkpoint and source.is_file():
            return load_new(ctx)
        raise
    if checkpoint.family == "classic":
        from adaptrt_ultralytics.classic.model import network_from_checkpoint as classic_from_checkpoint

        return classic_from_checkpoint(checkpoint)
    return DecodedOutput(network_from_checkpoint(checkpoint)).eval()
