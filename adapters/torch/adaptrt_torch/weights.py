"""Weights files: read as data, matched by the prefixes that training code adds, and loaded into the network."""

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
    """Load ``--weights`` into the model; with ``--trust-checkpoint`` torch unpickles them, which can run code."""
    path = ctx.request.weights
    assert path is not None
    inert = (*INERT, *_own_classes(model))
    tensors = read_state_dict(path, inert=inert, trust=ctx.request.trust_checkpoint)
    fill(model, under_prefix(tensors, list(model.state_dict()), ctx), ctx)


def under_prefix(tensors: Mapping[str, torch.Tensor], own: list[str], ctx: Conversion) -> dict[str, torch.Tensor]:
    """The tensors of the network without their prefix in the file: that of a LightningModule (``model.``), or of one of
    several networks (``generator.``), chosen by ``--set prefix=``."""
    prefix = ctx.options.prefix
    if prefix is not None:
        prefix = f"{prefix.removesuffix('.')}."
        if not any(name.startswith(prefix) for name in tensors):
            known = {name.partition(".")[0] for name in tensors}
            raise CheckpointError(
                f"{ctx.request.weights} has no tensors with the prefix {prefix}", hint=did_you_mean(prefix, known)
            )
    elif not own or any(name in own for name in tensors):
        return dict(tensors)
    else:
        prefix = _only_prefix(tensors, own, ctx)
    if prefix is None:
        return dict(tensors)
    aside = [name for name in tensors if not name.startswith(prefix)]
    if aside:
        ctx.notes.append(f"Weights with prefix {prefix} are loaded; {len(aside)} others ({_some(aside)}) are ignored.")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def fill(model: nn.Module, tensors: Mapping[str, torch.Tensor], ctx: Conversion) -> None:
    """Load weights; missing or unexpected ones are an error, or with ``--set strict=false`` a note."""
    problems = fill_model(
        model,
        tensors,
        ctx.request.weights,
        hint="Build the network as it was trained (--set kwargs.NAME=VALUE), or accept this with --set strict=false.",
        other_hint="Specify the network that these weights belong to; if its names have a prefix in the file: --set prefix=NAME",
        shape_hint=lambda _: "Build the network as it was trained: --set kwargs.NAME=VALUE",
        strict=ctx.options.strict,
    )
    if problems:
        ctx.notes.append(f"The weights file {problems}; accepted because of --set strict=false.")


def _only_prefix(tensors: Mapping[str, torch.Tensor], own: list[str], ctx: Conversion) -> str | None:
    """The prefix of all tensors of the network; if there are several, ``--set prefix=`` is required."""
    ends = tuple(f".{name}" for name in own)
    found = dict.fromkeys(name.removesuffix(own[0]) for name in tensors if name.endswith(ends[0]))
    whole = [prefix for prefix in found if all(prefix + name in tensors for name in own)]
    if len(whole) > 1:
        raise CheckpointError(
            f"{ctx.request.weights} contains this network {len(whole)} times, with prefixes {', '.join(whole)}.",
            hint=f"Choose one: --set prefix={whole[0]}",
        )
    return whole[0] if whole else None


def _own_classes(model: nn.Module) -> set[str]:
    """Packages of the network's classes: a pickled network refers to them; they are replaced by stand-ins."""
    packages = {type(module).__module__.partition(".")[0] for module in model.modules()} - {"torch"}
    names = {name.removeprefix("adaptrt_source_") for name in packages}
    return {*names, "torch.nn", "__main__"}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
