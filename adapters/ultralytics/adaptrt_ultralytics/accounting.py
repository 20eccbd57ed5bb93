"""Checks that the rebuilt network uses everything that the checkpoint records, and rejects it by name otherwise.

A checkpoint contains the state of each layer and the name of its class, not its code. A layer rebuilt from its class name
computes what that class computes. A fork may use the same name for another computation; then the state usually contains
something that the known class does not use. The rebuilt network is therefore run once, and each recorded child, tensor and
setting must be used in that run, or be listed in ``UNUSED`` with the reason why inference does not need it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
    """Which of their attributes the modules of a network read while it runs, and which parameters and buffers affect its
    output. Parameters are tested by their gradients, buffers of layers that are not from ``torch.nn`` by changing them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.reads: dict[int, set[str]] = {id(module): set() for module in model.modules()}
        self.unreached: set[int] = set()

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """The output for these images. Exceptions of the network are not caught."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.is_floating_point()]
        for parameter in parameters:
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad(), _recorded_reads(self.reads):
                output = self.model(images)
                shown, counted = recorded_outputs(output)
            if any(tensor.requires_grad for tensor in counted):
                total = sum((tensor.sum() for tensor in counted if tensor.requires_grad), torch.zeros(()))
                gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            else:
                gradients = (None,) * len(parameters)
        finally:
            for parameter in parameters:
                parameter.requires_grad_(False)
        self.unreached = {
            id(parameter) for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is None
        }
        for module in self.model.modules():
            if not type(module).__module__.startswith("torch.nn."):
                for name, buffer in module._buffers.items():
                    if buffer is not None and name in self.reads[id(module)] and not self._influences(buffer, images):
                        self.unreached.add(id(buffer))
        return shown.detach()

    def _influences(self, buffer: torch.Tensor, images: torch.Tensor) -> bool:
        """Whether the outputs change with the values of the buffer."""
        kept = buffer.clone()
        try:
            with torch.inference_mode():
                before = recorded_outputs(self.model(images))[1]
                buffer.copy_(kept + 1 if buffer.dtype != torch.bool else ~kept)
                after = recorded_outputs(self.model(images))[1]
        except Exception:  # it decides about more than numbers
            return True
        finally:
            with torch.inference_mode():
                buffer.copy_(kept)
        return any(
            one.shape != other.shape or not torch.equal(one, other) for one, other in zip(before, after, strict=True)
        )

    def unaccounted(self, layer: Rebuilt) -> list[str]:
        """Names that the checkpoint records of this layer, but that the run did not use and ``UNUSED`` does not explain."""
        recorded, module = layer.recorded, layer.module
        reads, kind = self.reads.get(id(module), set()), recorded.name
        names = []
        for name, child in recorded.mapping("_modules").items():
            if child is not None and not self.reads.get(id(module._modules.get(name))):
                names.append(name)
        for tensors in (recorded.mapping("_parameters"), recorded.mapping("_buffers")):
            for name, tensor in tensors.items():
                own = module._parameters.get(name, module._buffers.get(name))
                if tensor is not None and (name not in reads or id(own) in self.unreached):
                    names.append(name)
        if not layer.settled:
            names += [name for name in recorded.attributes if name not in reads]
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
