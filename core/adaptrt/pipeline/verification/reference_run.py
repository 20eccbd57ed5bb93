"""The reference of a conversion: the unmodified model on every sample; modifications outside of patches are errors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from adaptrt.errors import AdaptrtError, ModelError, PatchError, ShapeError
from adaptrt.pipeline import links
from adaptrt.pipeline.names import name_outputs
from adaptrt.pipeline.verification.sample_run import SampleRun
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.quantities import listed
from adaptrt.report import Finding
from adaptrt.request import nearest_shape
from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from adaptrt.export.eager import EagerRunner
    from adaptrt.export.state import Fingerprint
    from adaptrt.specs.tensors import Arrays


_TRIES = 20  # of a model that draws random numbers and gave the same twice


@dataclass(kw_only=True)
class ReferenceRun(SampleRun):
    """The model as the adapter loaded it, eager."""

    model: nn.Module
    runner: EagerRunner = field(init=False)

    title: ClassVar[str] = "The model"

    def __post_init__(self) -> None:
        from adaptrt.export.eager import EagerRunner

        self.runner = EagerRunner(self.model)

    def run(self, spec: ModelSpec) -> ModelSpec:
        spec = super().run(spec)
        for name in sorted(self.runner.written):
            self.job.report.findings.append(_input_written(name))
        return spec

    def note_state_that_is_read(self, written: Sequence[str]) -> None:
        """Of the state that was ``written`` since the model was loaded, note what depends on values and decides the outputs. What
        differs after the same inputs is noted already."""
        from adaptrt.export.state_reads import state_that_outputs_read

        if self.job.request.verify == "none":
            return
        if any(finding.rule == "state-written" for finding in self.job.report.findings):
            return
        samples = [sample.inputs for sample in self.job.samples]
        parts = state_that_outputs_read(self.model, written, self.runner.run, samples)
        if parts:
            self.job.report.findings.append(_state_read(parts))

    def inputs(self, spec: ModelSpec, sizes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[Any]]:
        tensors = self.job.hooks.example_inputs(self.job.ctx, spec, sizes, seed)
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def outputs(self, spec: ModelSpec, inputs: Arrays) -> dict[str, NDArray[Any]]:
        try:
            return self.runner.run(inputs)
        except AdaptrtError:
            raise
        except Exception as error:
            given = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in inputs.items())
            nearest = nearest_shape(spec)
            if nearest and spec.image is not None:
                raise ShapeError(
                    f"The model does not run on {given}, whose sizes are not multiples of its stride "
                    f"{spec.image.stride}: {type(error).__name__}: {error}",
                    hint=f"Use the nearest supported shape: {nearest}",
                ) from error
            raise ModelError(
                f"The model itself fails on {given}: {type(error).__name__}: {error}",
                hint=links.hint_of_inputs(self.job.ctx.options),
            ) from error

    def with_outputs(self, spec: ModelSpec, outputs: Arrays) -> ModelSpec:
        from adaptrt.export.eager import EagerRunner

        spec = name_outputs(spec, self.job.request.output_names, outputs)
        self.runner = EagerRunner(self.model, tuple(output.name for output in spec.outputs))
        return spec

    def tables(self) -> Sequence[int]:
        from torch.nn import Embedding

        return [part.num_embeddings for part in self.model.modules() if isinstance(part, Embedding)]

    def sample(self, inputs: Arrays, outputs: Arrays) -> Sample:
        return Sample(inputs, outputs, again=self.runner.run, rounded=self.runner.rounded_differently)

    def require_repeatable(self, spec: ModelSpec, inputs: Arrays, outputs: Arrays) -> None:
        """Also check that running the model changes none of its state and draws no random numbers."""
        from adaptrt.export.repeatability import random_modules, random_state
        from adaptrt.export.state import changed, fingerprint, written_parts

        before, drawn = fingerprint(self.model), random_state()
        self.require_same(spec, inputs, outputs)
        written = written_parts(changed(before, fingerprint(self.model)))
        if random_state() != drawn:  # with luck it was the same
            for _ in range(_TRIES):
                self.require_same(spec, inputs, outputs)
            parts = random_modules(self.model, lambda: self.runner.run(inputs))
            self.job.report.findings.append(_random_numbers(parts))
        if written:
            self.job.report.findings.append(_state_written(written))

    def draws_random_numbers(self, inputs: Arrays) -> bool:
        from adaptrt.export.repeatability import random_modules

        return bool(random_modules(self.model, lambda: self.runner.run(inputs)))

    def why_unrepeatable(self, inputs: Arrays) -> str:
        from adaptrt.export.repeatability import why_unrepeatable

        return why_unrepeatable(self.model, lambda: self.runner.run(inputs))


def require_untouched(
    before: Fingerprint, after: Fingerprint, where: str, written: Sequence[str], *, exporting: bool = False
) -> None:
    """Reject a model that was modified outside of patches: the model compared later would not be the one loaded.

    ``written`` names the parts that its own forward writes.
    """
    from adaptrt.export.state import modified

    found = modified(before, after, written, exporting=exporting)
    if found:
        raise PatchError(
            f"The model was modified {where}, outside of patches: {listed(found)}.",
            hint="Return a FunctionPatch, ModulePatch or SwitchPatch from the hook patches instead: these are undone, and "
            "link 1 checks their effect.",
        )


def narrowed(model: nn.Module) -> nn.Module:
    """A float32 copy of a float64 model: what is exported. The reference stays as it is."""
    try:
        return copy.deepcopy(model).float()
    except Exception as error:
        raise ModelError(
            f"The float64 model cannot be copied to float32: {type(error).__name__}: {error}",
            hint="Return model.float() from load_model, or declare its inputs as float64.",
        ) from error


def _random_numbers(parts: Sequence[str]) -> Finding:
    return _warning(
        "random-numbers",
        len(parts),
        f"random numbers are drawn in {', '.join(parts[:3])}, but did not change the outputs of the samples",
        "remove the random numbers from forward(), or call model.eval()",
    )


def _state_written(parts: Sequence[str]) -> Finding:
    return _of_state(
        parts,
        f"forward() modifies {listed(parts)} on every call: if the outputs depend on that, the file keeps "
        "the value from the export",
    )


def _state_read(parts: Sequence[str]) -> Finding:
    return _of_state(
        parts,
        f"the outputs depend on {listed(parts)}, which forward() modifies: the file keeps the value from the export",
    )


def _of_state(parts: Sequence[str], message: str) -> Finding:
    return _warning(
        "state-written", len(parts), message, "remove the state from forward(), or make it an input and an output"
    )


def _input_written(name: str) -> Finding:
    return _warning(
        "input-written",
        1,
        f"the model modifies its input {name!r} in place: a second call with the same tensor returns another result",
        "use x = x.mul(2) instead of x.mul_(2), or clone the input first",
    )


def _warning(rule: str, count: int, message: str, advice: str) -> Finding:
    """Of the whole model, not of an operator."""
    return Finding(rule=rule, severity="warning", operator="", count=count, message=message, advice=advice)
