"""Weights out of files: read as data, found under the prefixes that training code leaves, and fitted into the network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from adaptrt import CheckpointError, Conversion, did_you_mean
from adaptrt.checkpoint import fill_model, read_state_dict

# what training scripts save along: their arguments, configurations and callbacks
INERT = (
    "argparse",
    "easydict",
    "lightning",
    "lightning_fabric",
    "ml_collections",
    "omegaconf",
    "pytorch_lightning",
    "types.SimpleNamespace",
    "yacs",
)


def load_weights(ctx: Conversion, model: nn.Module) -> None:
    """Fill the model with ``--weights``; with ``--trust-checkpoint`` torch unpickles them, which runs what they ask for."""
    path = ctx.request.weights
    assert path is not None
    inert = (*INERT, *_own_classes(model))
    tensors = read_state_dict(path, inert=inert, trust=ctx.request.trust_checkpoint)
    fill(model, under_prefix(tensors, list(model.state_dict()), ctx), ctx)


def under_prefix(tensors: Mapping[str, torch.Tensor], own: list[str], ctx: Conversion) -> dict[str, torch.Tensor]:
    """The tensors with the names of the network, where the file has them below a prefix: that of a LightningModule
    (``model.``), or one of several networks (``generator.``), which ``--set prefix=`` chooses."""
    prefix = ctx.options.prefix
    if prefix is not None:
        prefix = f"{prefix.removesuffix('.')}."
        if not any(name.startswith(prefix) for name in tensors):
            known = {name.partition(".")[0] for name in tensors}
            raise CheckpointError(
                f"{ctx.request.weights} has nothing under --set prefix={prefix}", hint=did_you_mean(prefix, known)
            )
    elif not own or any(name in own for name in tensors):
        return dict(tensors)
    else:
        prefix = _only_prefix(tensors, own, ctx)
    if prefix is None:
        return dict(tensors)
    aside = [name for name in tensors if not name.startswith(prefix)]
    if aside:
        ctx.notes.append(f"Weights: those under {prefix}; {len(aside)} others ({_some(aside)}) left aside.")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def fill(model: nn.Module, tensors: Mapping[str, torch.Tensor], ctx: Conversion) -> None:
    """Load weights; what is missing or left over is an error, unless ``--set strict=false``: then a note."""
    problems = fill_model(
        model,
        tensors,
        ctx.request.weights,
        hint="Build the network that was trained (--set kwargs.NAME=VALUE), or accept it with --set strict=false.",
        shape_hint=lambda _: "Build the network that was trained: --set kwargs.NAME=VALUE",
        strict=ctx.options.strict,
    )
    if problems:
        ctx.notes.append(f"The file of weights {problems}: accepted with strict=false.")


def _only_prefix(tensors: Mapping[str, torch.Tensor], own: list[str], ctx: Conversion) -> str | None:
    """The prefix under which all of the network lies; where there are several, the user has to say which."""
    ends = tuple(f".{name}" for name in own)
    found = dict.fromkeys(name.removesuffix(own[0]) for name in tensors if name.endswith(ends[0]))
    whole = [prefix for prefix in found if all(prefix + name in tensors for name in own)]
    if len(whole) > 1:
        raise CheckpointError(
            f"{ctx.request.weights} holds this network {len(whole)} times: under {', '.join(whole)}.",
            hint=f"Say which: --set prefix={whole[0]}",
        )
    return whole[0] if whole else None


def _own_classes(model: nn.Module) -> set[str]:
    """Where the classes of the network come from: a pickled network names them, and they stay stand-ins."""
    packages = {type(module).__module__.partition(".")[0] for module in model.modules()} - {"torch"}
    names = {name.removeprefix("adaptrt_source_") for name in packages}
    return {*names, "torch.nn", "__main__"}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
