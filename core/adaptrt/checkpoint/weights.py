"""Loading weights into a network, shared by adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import CheckpointError
from adaptrt.store.model_files import CHECKPOINT_SUFFIXES

if TYPE_CHECKING:
    import torch
    from torch import nn

_SHOWN = 3


def is_checkpoint_name(source: str | Path) -> bool:
    """Whether a source has the suffix of a checkpoint; the file need not exist."""
    return str(source).lower().endswith(CHECKPOINT_SUFFIXES)


def fill_model(
    model: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    source: object,
    *,
    hint: str,
    network: str = "the network",
    shape_hint: Callable[[Sequence[str]], str] | None = None,
    other_hint: str | None = None,
    order: Callable[[str], Any] | None = None,
    ignored: Callable[[str], bool] | None = None,
    strict: bool = True,
) -> str:
    """Load weights into a model; a ``CheckpointError`` with ``hint`` names what does not match.

    ``source`` and ``network`` are their names in the message. ``shape_hint`` returns the hint if shapes differ; it gets
    the names in the order of ``order`` (the first is shown). ``other_hint`` is the hint if no name matches, by default
    ``hint``. Names that are ``ignored`` may be missing or unused; without ``strict`` any may, and the mismatches are
    returned as text.
    """
    own = model.state_dict()
    wrong = sorted((name for name in own if name in tensors and own[name].shape != tensors[name].shape), key=order)
    missing = [name for name in own if name not in tensors and not (ignored and ignored(name))]
    left_over = [name for name in tensors if name not in own and not (ignored and ignored(name))]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{source} does not match {network}: {wrong[0]} is {list(tensors[wrong[0]].shape)} in the file, but "
            f"{list(own[wrong[0]].shape)} in the network{more}.",
            hint=shape_hint(wrong) if shape_hint else hint,
        )
    if own and len(missing) == len(own):
        raise CheckpointError(
            f"{source} contains no tensor of {network}: it has {_some(list(tensors))}, but the network has {_some(list(own))}.",
            hint=other_hint or hint,
        )
    parts = [f"{verb} {_some(names)}" for verb, names in (("lacks", missing), ("has unused", left_over)) if names]
    problems = " and ".join(parts)
    if problems and strict:
        raise CheckpointError(f"{source} does not match {network}: it {problems}.", hint=hint)
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if name in own}, strict=False)
    return problems


def _some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
