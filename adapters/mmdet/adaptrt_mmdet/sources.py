"""Resolves the user's source to config, checkpoint and detector, kept for later hooks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt import Conversion, UsageError
from adaptrt.checkpoint import batch_norms, is_checkpoint_name, warn_of_random_weights
from adaptrt_mmdet.build import SMALLEST_EPS, build_detector
from adaptrt_mmdet.checkpoints import Checkpoint, open_checkpoint
from adaptrt_mmdet.configs import executed_config, importable, load_config
from adaptrt_mmdet.options import MmdetOptions

if TYPE_CHECKING:
    from mmengine.config import Config


ZERO_EPS = (
    "The config has batch norms with eps=0, which torch rejects; they have the smallest float32, 2**-126, instead. Added to a variance "
    "above 2e-31, it changes nothing."
)


@dataclass(frozen=True)
class Source:
    """A resolved source: the config with overrides, the checkpoint if any, and the detector (``nn.Module``)."""

    config: Config
    checkpoint: Checkpoint | None
    detector: Any


def warn_if_random(ctx: Conversion, source: Source) -> None:
    """Warn about a detector that was built without a checkpoint."""
    if source.checkpoint is None:
        warn_of_random_weights(ctx, ctx.request.source, network=source.detector)


def open_source(ctx: Conversion) -> Source:
    """``SOURCE`` is a config (a path, or a name in the wheel) or a checkpoint that contains its config."""
    request = ctx.request
    assert isinstance(ctx.options, MmdetOptions)
    weights = request.weights
    if is_checkpoint_name(request.source):
        if weights is not None:
            raise UsageError(
                "Two checkpoints were specified.",
                hint="Use the config as source: adaptrt convert ... my_config.py --weights FILE",
            )
        weights = Path(request.source)
    checkpoint = None if weights is None else open_checkpoint(weights, trust=request.trust_checkpoint)
    config = load_config(request.source, ctx.options.cfg, checkpoint)
    executed = executed_config(request.source)
    if executed is not None:
        said = f"{executed.name} was executed: a config is Python, and so is what it inherits from and imports."
        if said not in ctx.notes:
            ctx.notes.append(said)
            ctx.tell(said)
    with importable(executed.parent if executed else None):
        detector = build_detector(config, checkpoint)
    if any(norm.eps == SMALLEST_EPS for norm in batch_norms(detector)) and ZERO_EPS not in ctx.notes:
        ctx.notes.append(ZERO_EPS)
    return Source(config, checkpoint, detector)
