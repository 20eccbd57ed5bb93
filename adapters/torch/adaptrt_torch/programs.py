"""Programs in files: ``torch.export`` (.pt2) and TorchScript."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._pytree import tree_unflatten

from adaptrt import CheckpointError, Conversion, Dim, InputSpec, ModelError, UsageError

_OPEN = 1 << 10  # a range of an exported program without an upper end


class Program(nn.Module):
    """An exported program as a module; it keeps the mode (train or eval) of its export."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        self.graph = program.module()
        self.inputs = _program_inputs(program)
        self.call_spec = program.call_spec.in_spec
        for module in self.modules():
            module.training = False

    def forward(self, *inputs: torch.Tensor) -> Any:
        if self.call_spec is None:
            return self.graph(*inputs)
        args, kwargs = tree_unflatten(list(inputs), self.call_spec)  # the containers and keywords it was exported with
        return self.graph(*args, **kwargs)

    def train(self, mode: bool = True) -> Program:  # noqa: ARG002
        return self


def load_program(ctx: Conversion, path: Path, kind: Literal["program", "torchscript"]) -> nn.Module:
    """Load the module of a file; this runs code in the file, so ``--trust-checkpoint`` is required."""
    if ctx.options.kwargs or ctx.options.args:
        raise UsageError(
            f"{path} is an exported program: args and kwargs do not apply.", hint="Omit --set args and --set kwargs."
        )
    if ctx.request.weights is not None:
        raise UsageError(f"{path} already contains its weights.", hint="Omit --weights.")
    if not ctx.request.trust_checkpoint:
        raise CheckpointError(
            f"{path} is a program: loading it with torch can run code in it.",
            hint="Use --trust-checkpoint if you trust its origin.",
        )
    try:
        if kind == "torchscript":
            script: nn.Module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
            return script
        program = torch.export.load(path)
    except Exception as error:
        raise ModelError(
            f"{path} cannot be loaded: {type(error).__name__}: {str(error).strip().splitlines()[0]}",
            hint=f"Save it again with this version of torch ({torch.__version__}).",
        ) from error
    return Program(program)


def _program_inputs(program: torch.export.ExportedProgram) -> tuple[InputSpec, ...]:
    """The inputs of the program, with its dynamic axes."""
    named = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    inputs: list[InputSpec] = []
    batch: str | None = None  # the symbol of the very first axis, which torch calls s31 or so
    for name in program.graph_signature.user_inputs:
        value = named.get(str(name))
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"Input {name} of this program is of type {type(value).__name__}; adaptrt needs tensors.",
                hint="Export a wrapper module that takes only tensors.",
            )
        shape = tuple(_dim(program, size) for size in value.shape)
        if not inputs and shape:
            batch = shape[0].name
        shape = tuple(replace(dim, name="batch") if batch and dim.name == batch else dim for dim in shape)
        inputs.append(InputSpec(str(name), (shape,), str(value.dtype).removeprefix("torch.")))
    return tuple(inputs)


def _dim(program: torch.export.ExportedProgram, size: Any) -> Dim:
    if isinstance(size, int):
        return Dim.fixed(size)
    expression = size.node.expr
    limits = program.range_constraints.get(expression)
    low = int(limits.lower) if limits is not None else 1
    # no upper end comes as infinity, or as the largest int64
    high = int(limits.upper) if limits is not None and limits.upper < 1 << 62 else max(_OPEN, low)
    low = max(low, 1)
    name = str(expression) if str(expression).isidentifier() else None
    return Dim(low, min(max(low, 2), high), high, name)


def script_inputs(model: nn.Module) -> list[inspect.Parameter]:
    """The inputs of a TorchScript program, with their defaults."""
    forward: Any = model.forward
    kind, required = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    return [
        inspect.Parameter(
            argument.name, kind, default=argument.default_value if argument.has_default_value() else required
        )
        for argument in forward.schema.arguments[1:]
    ]
