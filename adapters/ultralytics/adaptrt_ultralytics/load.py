"""Loads a network of either family from the source named by the user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt import Conversion
from adaptrt_ultralytics.checkpoints import open_checkpoint
from adaptrt_ultralytics.heads import choose_branch
from adaptrt_ultralytics.new_family import DecodedOutput
from adaptrt_ultralytics.rebuild import load_new_family, network_from_checkpoint, network_from_unpickled

if TYPE_CHECKING:
    from adaptrt_ultralytics.classic.model import ClassicModel
    from adaptrt_ultralytics.classic.original import OriginalClassic


def load_new(ctx: Conversion) -> DecodedOutput:
    """Load a network of the new family from a checkpoint or by config name."""
    source = ctx.request.weights or ctx.request.source
    network = load_new_family(source, trust=ctx.request.trust_checkpoint)
    choose_branch(network, getattr(ctx.options, "end2end", None))
    return DecodedOutput(network).eval()


def load_any(ctx: Conversion) -> ClassicModel | OriginalClassic | DecodedOutput:
    """Load a network of either family, determined by the file.

    The file is read as data, and the network is rebuilt. With ``--trust-checkpoint``, torch unpickles the file instead,
    which runs the code that it names.
    """
    source = Path(ctx.request.weights or ctx.request.source)
    if source.suffix in (".yaml", ".yml") or (not source.suffix and not source.exists()):
        return load_new(ctx)
    if ctx.request.trust_checkpoint:
        from adaptrt_ultralytics.classic.original import OriginalClassic, is_classic, load_trusted

        network: Any = load_trusted(source, repo_of(ctx))
        if is_classic(network):
            return OriginalClassic(network, str(source)).eval()
        return DecodedOutput(network_from_unpickled(network, source)).eval()
    checkpoint = open_checkpoint(source)
    if checkpoint.family == "classic":
        from adaptrt_ultralytics.classic.model import network_from_checkpoint as classic_from_checkpoint

        return classic_from_checkpoint(checkpoint)
    return DecodedOutput(network_from_checkpoint(checkpoint)).eval()


def repo_of(ctx: Conversion) -> str | None:
    """The checkout that ``--set repo`` names."""
    return getattr(ctx.options, "repo", None)
