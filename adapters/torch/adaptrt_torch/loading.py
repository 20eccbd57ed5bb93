"""Builds the module, loads its weights, and makes it callable with positional tensors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from adaptrt import AdaptrtError, Conversion, ModelError, UsageError, did_you_mean
from adaptrt_torch.calling import called_by_position
from adaptrt_torch.programs import load_program
from adaptrt_torch.sources import file_kind, find_object, importable, is_file_source
from adaptrt_torch.weights import load_weights


def load(ctx: Conversion) -> nn.Module:
    """The module of the source, or a part of it, in eval mode, called with the inputs in the order of ``input_order``.

    Half precision becomes float32; float64 stays.
    """
    source = ctx.request.source
    if is_file_source(source):
        model = load_program(ctx, Path(source), file_kind(Path(source)))
    else:
        with importable(source), _nothing_downloaded():
            model = build(ctx, find_object(source))
        if ctx.request.weights is not None:
            load_weights(ctx, model)
        model = widened(model).eval()
    if ctx.options.part is not None:
        model = part_of(model, ctx.options.part)
    _require_one_type(source, model)
    return called_by_position(model, tuple(ctx.request.shapes.shapes))


def widened(model: nn.Module) -> nn.Module:
    """The module with half and bfloat16 tensors as float32, which is exact. float64 stays: rounding it would change the
    reference."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None and tensor.dtype in (torch.float16, torch.bfloat16):
                    tensor.data = tensor.data.float()
    return model


def _require_one_type(source: str, model: nn.Module) -> None:
    """Reject parameters in both float32 and float64: which of them the results need is up to the author."""
    first: dict[torch.dtype, str] = {}
    for name, parameter in model.named_parameters():
        first.setdefault(parameter.dtype, name)
    if torch.float32 in first and torch.float64 in first:
        raise ModelError(
            f"{source} has parameters in float32 ({first[torch.float32]} ...) and float64 ({first[torch.float64]} ...).",
            hint="Save the program again, from model.float() or model.double()."
            if is_file_source(source)
            else f"Return model.float(), or model.double(), from {source.rpartition(':')[2]}.",
        )


def part_of(model: nn.Module, name: str) -> nn.Module:
    """A submodule by its dotted name; weights have been loaded into the whole model before."""
    parts: dict[str, nn.Module] = dict(model.named_modules())
    parts.pop("", None)
    if name not in parts:
        known = [*dict(model.named_children()), *parts]  # the children come first where none is near
        raise UsageError(
            f"The model has no submodule {name!r}.",
            hint=did_you_mean(name, known) if parts else "It has no submodules; omit --set part.",
        )
    return parts[name]


def build(ctx: Conversion, found: Any) -> nn.Module:
    """The object itself, or the result of calling a class or factory with ``args`` and ``kwargs``; weights depend on the seed."""
    args, kwargs, source = ctx.options.args, ctx.options.kwargs, ctx.request.source
    if isinstance(found, nn.Module):
        if args or kwargs:
            raise UsageError(
                f"{source} is a module instance: args and kwargs do not apply.",
                hint="Specify its class or a factory instead.",
            )
        return found
    if not callable(found):
        raise ModelError(
            f"{source} is a {type(found).__name__}, neither a module nor a callable that returns one.",
            hint="Specify a torch.nn.Module, its class, or a function that returns one.",
        )
    _check_arguments(source, found, args, kwargs)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ctx.request.seed)
            model = found(*args, **kwargs)
    except AdaptrtError:
        raise
    except Exception as error:
        given = ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
        raise ModelError(
            f"{source}({given}) fails: {type(error).__name__}: {error}", hint="Check --set args and --set kwargs."
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{source} must return a torch.nn.Module, got {type(model).__name__}.",
            hint="Write a function that returns only the module, and specify that.",
        )
    return model


def _check_arguments(source: str, found: Any, args: list[Any], kwargs: Mapping[str, Any]) -> None:
    """Reject wrong arguments before anything runs, and suggest the right names."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # written in C or wrapped: the call itself reports wrong arguments
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        unknown = next((name for name in kwargs if name not in signature.parameters), None)
        parameters = f"{source}{signature}"
        hint = f"{did_you_mean(unknown, signature.parameters)} " if unknown is not None else ""
        raise ModelError(
            f"Wrong arguments for {source}: {error}.",
            hint=f"{hint}Signature: {parameters[:300]}. Set arguments with --set kwargs.NAME=VALUE.",
        ) from error


@contextmanager
def _nothing_downloaded() -> Iterator[None]:
    """Block downloads: factories such as torchvision's fetch weights by default."""

    def refuse(url: str, *_: Any, **__: Any) -> NoReturn:
        raise ModelError(
            f"The factory tries to download {url}; adaptrt downloads nothing.",
            hint="Build it without weights (often --set kwargs.weights=null, --set kwargs.weights_backbone=null), "
            "or download the file and use --weights FILE.",
        )

    original = torch.hub.download_url_to_file
    torch.hub.download_url_to_file = refuse
    try:
        yield
    finally:
        torch.hub.download_url_to_file = original
