"""An adapter whose stages run as in a conversion: for plans, for the source model of a converted file, and for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.pipeline.decoder_options import split_request_options, with_decoder_options
from adaptrt.pipeline.names import name_inputs, name_outputs
from adaptrt.pipeline.recognize import load_model
from adaptrt.pipeline.sessions import open_session
from adaptrt.pipeline.verification.samples import Shapes, sample_shapes, trace_shapes
from adaptrt.request import Conversion, Request
from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from adaptrt.plugins.facade import Contributed, Hooks


@dataclass
class AdapterSession:
    """Calls ``hooks`` outside of a conversion; ``model`` and ``spec`` are created on first use.

    ``warnings``: of the spec, about sizes that were rounded.
    """

    request: Request
    workdir: Path
    ctx: Conversion = field(init=False)
    warnings: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._session, settings = open_session(self.request.adapter, self.request.plugins_file)
        options, self._left = split_request_options(self.hooks, self.request)
        self.ctx = Conversion(request=self.request, options=options, workdir=self.workdir, settings=settings.settings)

    @property
    def hooks(self) -> Hooks:
        return self._session.hooks

    @cached_property
    def model(self) -> nn.Module:
        return load_model(self.hooks, self.ctx)

    @cached_property
    def spec(self) -> ModelSpec:
        """The adapter's spec with the requested shapes and names applied; outputs may still be missing."""
        spec, self.warnings = self.request.shapes.apply(self.hooks.model_spec(self.ctx, self.model))
        spec = name_inputs(spec, self.request.input_names)
        return with_decoder_options(spec, self._left, self.hooks, self.request)

    @cached_property
    def completed(self) -> ModelSpec:
        """The spec with the actual outputs of the model."""
        outputs = self.run(self.inputs(sample_shapes(self.spec)[0]))
        return name_outputs(self.spec, self.request.output_names, outputs)

    def inputs(self, shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
        return self.hooks.example_inputs(self.ctx, self.spec, shapes, seed)

    def run(self, inputs: dict[str, torch.Tensor], names: tuple[str, ...] = ()) -> dict[str, Any]:
        """Run the model eagerly in its current state; returns arrays by output name."""
        from adaptrt.export.eager import EagerRunner

        return EagerRunner(self.model, names).run({name: tensor.numpy() for name, tensor in inputs.items()})

    def patches(self) -> list[Contributed]:
        return self.hooks.patches(self.ctx, self.model, self.completed)

    def code(self) -> dict[str, Any]:
        """Every attribute of the model's classes, and every public attribute of its modules."""
        classes = {kind for module in self.model.modules() for kind in type(module).__mro__ if kind is not object}
        of_classes = {
            f"{kind.__module__}:{kind.__qualname__}.{name}": value
            for kind in classes
            for name, value in vars(kind).items()
            if not name.startswith("__")
        }
        of_modules = {
            f"{path or 'the model'}.{name}": value
            for path, module in self.model.named_modules()
            for name, value in vars(module).items()
            if not name.startswith("_")
        }
        return {**of_classes, **of_modules}

    def trace_shapes(self) -> Shapes:
        return trace_shapes(self.spec)

    def corners(self) -> dict[str, Shapes]:
        """Shapes with every axis, including the batch, at its min, opt and max."""
        return {
            corner: {
                tensor.name: tuple(getattr(dim, corner) for dim in tensor.profiles[0]) for tensor in self.spec.inputs
            }
            for corner in ("min", "opt", "max")
        }
