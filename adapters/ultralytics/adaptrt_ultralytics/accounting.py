"""Checks that the rebuilt network uses everything that the checkpoint records, and rejects it by name otherwise.

A checkpoint contains the state of each layer and the name of its class, not its code. A layer rebuilt from its class name
computes what that class computes. A fork may use the same name for another computation; then the state usually contains
something that the known class does not use. The rebuilt network is therefore run once, and each recorded child, tensor and
setting must be used in that run, or be listed in ``UNUSED`` with the reason why inference does not need it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import isnan, nan
from typing import Any

import torch
from torch import nn

from adaptrt import CheckpointError
from adaptrt.checkpoint import InertName, InertObject
from adaptrt_ultralytics.heads import recorded_outputs
from adaptrt_ultralytics.unused import HOOKS, UNUSED, reason_unused

WAYS_OUT = (
    "If you trust the file and have its original code, add that repository to PYTHONPATH and use --trust-checkpoint, "
    "or write an adapter: adaptrt new-adapter NAME"
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A module and its record in the checkpoint, at its dotted path in the network.

    ``settled``: its settings were compared when it was built; only its tensors and children are still to be checked.
    """

    path: str
    module: nn.Module
    recorded: InertObject
    settled: bool = False

    @property
    def title(self) -> str:
        return f"{self.path or 'the network'} ({self.recorded.name})"


def require_no_hooks(recorded: InertObject, path: str) -> None:
    """Reject hooks: functions that run before or after the layer and can change its output."""
    for attribute in HOOKS:
        hooks = recorded.get(attribute)
        if not hooks:
            continue
        values = hooks.values() if isinstance(hooks, Mapping) else getattr(hooks, "entries", {}).values() or [hooks]
        named = ", ".join(sorted({getattr(value, "path", type(value).__name__) for value in values})[:3])
        kind = attribute.strip("_").replace("_", " ").removesuffix("s")
        raise CheckpointError(
            f"Layer {path or 'model'} ({recorded.name}) has a {kind} ({named}), whose code is not in the checkpoint.",
            hint=WAYS_OUT,
        )


def recorded_forward(recorded: InertObject, kind: type[nn.Module], path: str) -> str | None:
    """The method that replaces ``forward`` on this instance, as fusing does; ``None`` if none does.

    A replaced ``forward`` that is not a method of the layer itself is rejected.
    """
    if "forward" not in recorded.attributes:
        return None
    value = recorded.attributes["forward"]
    method = ""
    if isinstance(value, InertObject) and value.path == "builtins.getattr" and len(value.args) == 2:
        owner, name = value.args
        method = name if owner is recorded and isinstance(name, str) else ""
    method = {"fuseforward": "forward_fuse"}.get(method, method)  # its name up to v5.0 of the classic repository
    if method == "forward":
        return None
    if not method.startswith("forward_") or not callable(getattr(kind, method, None)):
        found = f"{value.path}{value.args[1:]}" if isinstance(value, InertObject) and method == "" else repr(value)
        raise CheckpointError(
            f"Layer {path or 'model'} ({recorded.name}) has a replaced forward ({method or found}), whose code is not "
            "in the checkpoint.",
            hint=WAYS_OUT,
        )
    return method


def refers_to_method(value: Any, kind: str, method: str) -> bool:
    """Whether a recorded value is a method of a class, by the names of both: how pickle writes ``Detect.forward``."""
    if isinstance(value, InertName):
        return value.name == f"{kind}.{method}"
    if not isinstance(value, InertObject) or value.path != "builtins.getattr" or len(value.args) != 2:
        return False
    owner, name = value.args
    return isinstance(owner, InertName) and owner.name == kind and name == method


class Usage:
    """Which of their attributes the modules of a network read while it runs, and what affects its output.

    Parameters and results of modules are tested by their gradients. Buffers and floating-point settings of layers that are
    not from ``torch.nn`` are tested by changing them. Other settings (flags, integers, text) count as used once they are
    read: changing them would build another network.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.reads: dict[int, set[str]] = {id(module): set() for module in model.modules()}
        self.unreached: set[int] = set()
        self.idle: set[tuple[int, str]] = set()

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """The output for these images. Exceptions of the network are not caught."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.is_floating_point()]
        results: list[tuple[int, torch.Tensor]] = []
        for parameter in parameters:
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad(), _recorded_results(self.model, results), _recorded_reads(self.reads):
                output = self.model(images)
                shown, counted = recorded_outputs(output)
            self._follow_gradients([one for one in counted if one.requires_grad], parameters, results)
        finally:
            for parameter in parameters:
                parameter.requires_grad_(False)
        with torch.inference_mode():
            outputs = recorded_outputs(self.model(images))[1]
        for module in self.model.modules():
            if not type(module).__module__.startswith("torch.nn."):
                self._change_numbers(module, images, outputs)
        return shown.detach()

    def _follow_gradients(
        self, outputs: list[torch.Tensor], parameters: list[nn.Parameter], results: list[tuple[int, torch.Tensor]]
    ) -> None:
        """Record the parameters, and the modules with results, that no output has a gradient for."""
        tensors = [*parameters, *(result for _, result in results)]
        gradients: Sequence[torch.Tensor | None] = (None,) * len(tensors)
        if outputs:
            total = sum((one.sum() for one in outputs), torch.zeros(()))
            gradients = torch.autograd.grad(total, tensors, allow_unused=True)
        keys = [*(id(one) for one in parameters), *(key for key, _ in results)]
        reached = {key for key, gradient in zip(keys, gradients, strict=True) if gradient is not None}
        self.unreached = set(keys) - reached

    def _change_numbers(self, module: nn.Module, images: torch.Tensor, outputs: Sequence[torch.Tensor]) -> None:
        """Record the buffers and floating-point settings whose values do not change the outputs.

        NaN reaches every output that a number takes part in, also where the change of its value is rounded away.
        """
        read = self.reads[id(module)]
        for name, buffer in module._buffers.items():
            if buffer is not None and name in read:
                kept = buffer.clone()
                if not self._changes(
                    images, outputs, buffer.copy_, kept + 1 if kept.dtype != torch.bool else ~kept, kept
                ):
                    self.unreached.add(id(buffer))
        for name, value in list(vars(module).items()):
            if type(value) is float and name in read:
                assign = partial(module.__dict__.__setitem__, name)
                if not any(self._changes(images, outputs, assign, other, value) for other in (value * 1.5 + 0.25, nan)):
                    self.idle.add((id(module), name))

    def _changes(
        self, images: torch.Tensor, outputs: Sequence[torch.Tensor], assign: Callable[[Any], Any], other: Any, kept: Any
    ) -> bool:
        """Whether the outputs change with another value."""
        try:
            with torch.inference_mode():
                assign(other)
                after = recorded_outputs(self.model(images))[1]
        except Exception:  # it decides about more than numbers; NaN fails a check of any range
            return not (isinstance(other, float) and isnan(other))
        finally:
            with torch.inference_mode():
                assign(kept)
        return any(
            one.shape != other.shape or not torch.equal(one, other) for one, other in zip(outputs, after, strict=True)
        )

    def unaccounted(self, layer: Rebuilt) -> list[str]:
        """Names that the checkpoint records of this layer, but that the run did not use and ``UNUSED`` does not explain."""
        recorded, module = layer.recorded, layer.module
        reads, kind = self.reads.get(id(module), set()), recorded.name
        names = []
        for name, child in recorded.mapping("_modules").items():
            own = id(module._modules.get(name))
            if child is not None and (not self.reads.get(own) or own in self.unreached):
                names.append(name)
        for tensors in (recorded.mapping("_parameters"), recorded.mapping("_buffers")):
            for name, tensor in tensors.items():
                value = module._parameters.get(name, module._buffers.get(name))
                if tensor is not None and (name not in reads or id(value) in self.unreached):
                    names.append(name)
        if not layer.settled:
            names += [name for name in recorded.attributes if name not in reads or (id(module), name) in self.idle]
        return [name for name in dict.fromkeys(names) if reason_unused(kind, name) is None]


_one_at_a_time = threading.RLock()


@contextmanager
def _recorded_reads(reads: Mapping[int, set[str]]) -> Iterator[None]:
    """Record the name of every attribute that is read from a module of ``reads`` (by id)."""

    def noted(module: nn.Module, name: str) -> Any:
        seen = reads.get(id(module))
        if seen is not None:
            seen.add(name)
        return object.__getattribute__(module, name)

    with _one_at_a_time:
        nn.Module.__getattribute__ = noted  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            del nn.Module.__getattribute__


@contextmanager
def _recorded_results(model: nn.Module, results: list[tuple[int, torch.Tensor]]) -> Iterator[None]:
    """Record the tensors that each module returns and that have a gradient, with the module's id."""

    def note(module: nn.Module, _: Any, output: Any) -> None:
        results.extend((id(module), tensor) for tensor in tensors_in(output) if tensor.requires_grad)

    removals = [module.register_forward_hook(note) for module in model.modules()]
    try:
        yield
    finally:
        for removal in removals:
            removal.remove()


def tensors_in(output: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, (tuple, list, dict)):
        for one in output.values() if isinstance(output, dict) else output:
            yield from tensors_in(one)


def require_accounted(usage: Usage, layers: Sequence[Rebuilt], source: str) -> None:
    """Reject a network whose checkpoint records something that the rebuilt network does not use; the error names it."""
    found: list[tuple[Rebuilt, list[str]]] = []
    below: list[str] = []  # what is inside a child that was named already
    for layer in sorted(layers, key=lambda layer: layer.path.count(".")):
        if not f"{layer.path}.".startswith(tuple(below)):
            children = layer.recorded.mapping("_modules")
            below += [
                f"{layer.path}.{name}." if layer.path else f"{name}."
                for name in children
                if layer.recorded.name in UNUSED and name in UNUSED[layer.recorded.name]
            ]
        names = [] if f"{layer.path}.".startswith(tuple(below)) else usage.unaccounted(layer)
        if names:
            found.append((layer, names))
            below += [f"{layer.path}.{name}." if layer.path else f"{name}." for name in names]
    if not found:
        return
    layer, names = found[0]
    others = f" ({len(found) - 1} other layers too)" if len(found) > 1 else ""
    raise CheckpointError(
        f"{source} cannot be rebuilt from class names: layer {layer.title} has {', '.join(names[:5])}{others}, which the "
        f"known {layer.recorded.path} does not use. The checkpoint was saved by other code with the same class name.",
        hint=WAYS_OUT,
    )


def missing_in(error: BaseException, layers: Sequence[Rebuilt], usage: Usage) -> str | None:
    """For a rebuilt network that fails: the layer in which it fails, and the recorded names that this layer does not use."""
    at = {id(layer.module): layer for layer in layers}
    trace, failing = error.__traceback__, None
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        failing = at.get(id(owner), failing)
        trace = trace.tb_next
    if failing is None or failing.module.__class__.__module__.startswith("torch."):
        return None
    names = usage.unaccounted(failing)
    return f"layer {failing.title} has {', '.join(names[:5])}, which its class does not use" if names else None
