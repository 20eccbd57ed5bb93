"""What each module of an eager model returns, to compare it with the tensors of the exported graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ModuleCall:
    """A module that was called once and returned one tensor. ``maker`` is the module whose result it was called with."""

    path: str
    normalizes: bool
    maker: str = ""


def module_calls(model: nn.Module, run: Callable[[], object]) -> list[ModuleCall]:
    """The modules that ``run`` calls exactly once and that return one tensor, in the order in which they return."""
    counts: dict[str, int] = {}
    makers: dict[int, str] = {}
    kept: list[torch.Tensor] = []  # an id is only unique while its tensor exists
    found: dict[str, ModuleCall] = {}

    def note(path: str, module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        counts[path] = counts.get(path, 0) + 1
        if not isinstance(output, torch.Tensor):
            return
        given = inputs[0] if inputs and isinstance(inputs[0], torch.Tensor) else None
        maker = makers.get(id(given), "") if given is not None else ""
        found[path] = ModuleCall(path, isinstance(module, _BatchNorm), maker)
        if not any(True for _ in module.children()):  # a container returns what a part of it made
            makers[id(output)] = path
            kept.append(output)

    with _hooked(model, (path for path, _ in model.named_modules() if path), note):
        run()
    return [call for path, call in found.items() if counts[path] == 1]


def module_outputs(model: nn.Module, paths: Iterable[str], run: Callable[[], object]) -> dict[str, NDArray[Any]]:
    """What these modules return while ``run`` runs the model, as arrays by path."""
    found: dict[str, NDArray[Any]] = {}

    def keep(path: str, _module: nn.Module, _inputs: tuple[Any, ...], output: object) -> None:
        if isinstance(output, torch.Tensor):
            found[path] = output.detach().cpu().numpy().copy()  # a later module may write into it

    with _hooked(model, paths, keep):
        run()
    return found


@contextmanager
def _hooked(
    model: nn.Module, paths: Iterable[str], call: Callable[[str, nn.Module, tuple[Any, ...], object], None]
) -> Iterator[None]:
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    handles = [
        modules[path].register_forward_hook(
            lambda module, inputs, output, path=path: call(path, module, inputs, output)
        )
        for path in paths
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
