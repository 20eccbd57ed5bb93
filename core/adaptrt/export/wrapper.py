"""Wraps a model as a function from tensors to a flat tuple of tensors, for exporters and comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from adaptrt.errors import ModelError


def flatten_outputs(outputs: Any) -> dict[str, torch.Tensor]:
    """Tensors, tuples, lists, dicts, named tuples and dataclasses, nested, flattened to tensors by name.

    Names come from keys and fields; tensors without one are named ``output0``, ``output1``... in order. ``None`` entries are dropped.
    """
    named: list[tuple[str, torch.Tensor]] = []

    def walk(value: Any, name: str) -> None:
        if isinstance(value, torch.Tensor):
            named.append((name, value))
        elif isinstance(value, Mapping):
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else str(key))
        elif fields := _field_names(value):
            for key in fields:
                walk(getattr(value, key), f"{name}.{key}" if name else key)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item, name)
        elif value is not None:
            where = f"Model output {name!r}" if name else "The model's output"
            raise ModelError(
                f"{where} is of type {type(value).__name__}; adaptrt needs tensors, tuples or dicts of them.",
                hint="Wrap the model in a module (or in the adapter's load_model) that returns only tensors.",
            )

    walk(outputs, "")
    flat: dict[str, torch.Tensor] = {}
    for index, (name, tensor) in enumerate(named):
        unique = name if name and name not in flat and sum(name == other for other, _ in named) == 1 else ""
        flat[unique or (f"{name}_{index}" if name else f"output{index}")] = tensor
    if not flat:
        raise ModelError("The model returns no tensor.", hint="Check what its forward method returns in eval mode.")
    return flat


def _field_names(value: Any) -> tuple[str, ...]:
    """The fields of a named tuple or a dataclass."""
    if isinstance(value, tuple):
        return getattr(value, "_fields", ())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(field.name for field in dataclasses.fields(value))
    return ()


class FlatModel(nn.Module):
    """The model with a tuple of tensors as output, in the order of ``flatten_outputs``; ``count`` of them, if given."""

    def __init__(self, model: nn.Module, count: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.count = count

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = flatten_outputs(self.model(*inputs))
        if self.count is not None:
            require_count(len(outputs), self.count, inputs)
        return tuple(outputs.values())


def require_count(given: int, count: int, inputs: Sequence[torch.Tensor]) -> None:
    """Raise a ``ModelError`` if the number of outputs depends on the batch."""
    if given != count:
        batch = f"a batch of {int(inputs[0].shape[0])}" if inputs and inputs[0].ndim else "this input"
        raise ModelError(
            f"The model returns {given} outputs for {batch}, and {count} for another one.",
            hint="It returns a list with an entry for each sample: wrap it in a module whose outputs have the batch as first "
            "axis (see the page 'Take lists and NMS out of a model' of the documentation). A network with fixed sizes inside can also be converted with --batch 1.",
        )
