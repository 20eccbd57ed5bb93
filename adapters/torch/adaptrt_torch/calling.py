"""How a module takes its inputs: by position, by keyword, or in dicts and tuples."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from adaptrt import ModelError, did_you_mean
from adaptrt_torch.programs import Program, script_inputs


class ByName(nn.Module):
    """The module, called with tensors by position; ``names`` define the argument of each.

    ``mask`` is the argument of that name, ``batch.image`` the entry ``image`` of a dict ``batch``, ``pair.0`` the first
    of a tuple ``pair``.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, *inputs: torch.Tensor) -> Any:
        nested: dict[str, Any] = {}
        for name, tensor in zip(self.names, inputs, strict=True):
            *path, last = name.split(".")
            place = nested
            for part in path:
                place = place.setdefault(part, {})
            place[last] = tensor
        return self.model(**{name: _container(value) for name, value in nested.items()})


def called_by_position(model: nn.Module, names: Sequence[str]) -> nn.Module:
    """The module, wrapped if positional tensors would not reach the arguments named by ``names``."""
    if isinstance(model, Program):  # its spec says what it takes
        return model
    wanted = input_order(model, names)
    parameters = parameters_of(model)
    if not wanted or parameters is None:
        return model
    roots = list(dict.fromkeys(name.partition(".")[0] for name in wanted))
    known = set(roots) <= {parameter.name for parameter in parameters}
    if not known or wanted == [parameter.name for parameter in parameters][: len(wanted)]:
        return model
    return ByName(model, wanted)


def input_order(model: nn.Module, names: Sequence[str]) -> list[str]:
    """The inputs in the order of the module's arguments; names that match none keep the given order.

    Raises a ``ModelError`` that names missing or unexpected inputs.
    """
    if isinstance(model, ByName):
        return list(model.names)
    parameters = parameters_of(model)
    if parameters is None or not names:
        return list(names)
    own = [parameter.name for parameter in parameters]
    roots = {name: name.partition(".")[0] for name in names}
    strange = [name for name, root in roots.items() if root not in own]
    described = f"Its inputs: {', '.join(own) or 'none'}."
    required = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
    if len(strange) == len(names):  # names of the user's own: by position
        if not len(required) <= len(names) <= len(own) or any("." in name for name in names):
            raise ModelError(
                f"The model takes {len(required)} inputs, but --shape has {len(names)} ({', '.join(names)}).",
                hint=described,
            )
        return list(names)
    if strange:
        raise ModelError(f"The model has no input {strange[0]!r}.", hint=f"{did_you_mean(strange[0], own)} {described}")
    missing = [name for name in required if name not in roots.values()]
    if missing:
        raise ModelError(
            f"The model also needs {', '.join(missing)}.",
            hint=f"{described} Specify the shape of each: --shape {missing[0]}=...",
        )
    return sorted(names, key=lambda name: own.index(roots[name]))


def parameters_of(model: nn.Module) -> list[inspect.Parameter] | None:
    """The arguments of ``forward``; ``None`` if it takes any number, or has no signature."""
    if isinstance(model, Program):
        kind = inspect.Parameter.POSITIONAL_ONLY
        return [inspect.Parameter(tensor.name, kind) for tensor in model.inputs]
    if isinstance(model, torch.jit.ScriptModule):
        return script_inputs(model)
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return None
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return None if any(parameter.kind in variable for parameter in parameters) else parameters


def _container(value: Any) -> Any:
    """Dicts whose keys count from 0 are tuples."""
    if not isinstance(value, dict):
        return value
    items = {name: _container(item) for name, item in value.items()}
    if set(items) == {str(index) for index in range(len(items))}:
        return tuple(items[str(index)] for index in range(len(items)))
    return items
