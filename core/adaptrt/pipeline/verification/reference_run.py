"""The reference: the untouched model on every sample, and whether it is one, that is repeats itself and gives numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adaptrt.errors import AdaptrtError, ModelError, PatchError, ShapeError
from adaptrt.pipeline import links
from adaptrt.pipeline.job import SAMPLES
from adaptrt.pipeline.names import name_outputs
from adaptrt.pipeline.verification.integers import find_integers
from adaptrt.pipeline.verification.samples import (
    Sample,
    batch_axis,
    batch_shapes,
    numbered,
    require_numbers,
    sample_shapes,
)
from adaptrt.report import Exercise, Finding
from adaptrt.request import nearest_shape
from adaptrt.specs import ModelSpec
from adaptrt.specs.precisions import FP32
from adaptrt.verify.compare import Comparison

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from adaptrt.export.eager import EagerRunner
    from adaptrt.export.state import Fingerprint
    from adaptrt.pipeline.job import Job

    Arrays = Mapping[str, NDArray[Any]]


_TRIES = 20  # of a model that draws random numbers and gave the same twice


@dataclass
class ReferenceRun:
    """The part of a job that runs the model as the adapter loaded it."""

    job: Job
    model: nn.Module

    def run(self, spec: ModelSpec) -> tuple[EagerRunner, ModelSpec]:
        """Fill the job's samples; completes the spec's outputs."""
        from adaptrt.export.eager import EagerRunner

        job, runner = self.job, EagerRunner(self.model)
        verifying = job.request.verify != "none"
        shapes = sample_shapes(spec)
        nearest = nearest_shape(spec)  # sizes that the network may refuse are all tried
        every = job.request.verify == "full" or bool(nearest)
        todo = list(numbered(shapes if every else shapes[:1], SAMPLES[job.request.verify]))
        planned = len(todo)
        for done, (seed, sizes) in enumerate(todo):
            inputs = self._inputs(spec, sizes, seed)
            outputs = self._run(runner, inputs, spec, nearest)
            if done == 0:
                dtypes = {name: array.dtype.name for name, array in outputs.items()}
                spec = name_outputs(spec, job.request.output_names, dtypes)
                runner = EagerRunner(self.model, tuple(output.name for output in spec.outputs))
            outputs = dict(zip([output.name for output in spec.outputs], outputs.values(), strict=True))
            if verifying:
                require_numbers(outputs, seed)
            if done == 0 and verifying:
                self._require_repeatable(runner, spec, inputs, outputs)
                integers = find_integers(self.model, spec, inputs, runner.run)
                job.ctx = replace(job.ctx, integers=integers)
            job.samples.append(Sample(inputs, outputs, again=runner.run))
            if done + 1 == planned and self._lacks_batch(spec):
                todo.append((planned, batch_shapes(spec)))
            job.observer.stage_progress(done + 1, len(todo))
        if job.request.verify == "full":
            first = job.samples[0]
            self._require_same(runner, spec, first.inputs, first.reference)
        for name in sorted(runner.written):
            job.report.findings.append(_input_written(name))
        if verifying:
            job.report.exercise = exercise_of(job.samples, spec)
        return runner, spec

    def _inputs(self, spec: ModelSpec, sizes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[Any]]:
        tensors = self.job.hooks.example_inputs(self.job.ctx, spec, sizes, seed)
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def _run(self, runner: EagerRunner, inputs: Arrays, spec: ModelSpec, nearest: str = "") -> dict[str, NDArray[Any]]:
        try:
            return runner.run(inputs)
        except AdaptrtError:
            raise
        except Exception as error:
            given = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in inputs.items())
            if nearest and spec.image is not None:
                raise ShapeError(
                    f"The model does not run on {given}, whose sizes are not multiples of its stride "
                    f"{spec.image.stride}: {type(error).__name__}: {error}",
                    hint=f"The nearest: {nearest}",
                ) from error
            raise ModelError(
                f"The model itself fails on {given}: {type(error).__name__}: {error}",
                hint=links.hint_of_inputs(self.job.ctx.options),
            ) from error

    def _require_repeatable(self, runner: EagerRunner, spec: ModelSpec, inputs: Arrays, outputs: Arrays) -> None:
        """The same inputs once more, at once: the same outputs, and nothing of the model written meanwhile."""
        from adaptrt.export.repeatability import random_modules, random_state
        from adaptrt.export.state import changed, fingerprint, written_parts

        before, drawn = fingerprint(self.model), random_state()
        self._require_same(runner, spec, inputs, outputs)
        written = written_parts(changed(before, fingerprint(self.model)))
        if random_state() != drawn:  # with luck it was the same
            for _ in range(_TRIES):
                self._require_same(runner, spec, inputs, outputs)
            parts = random_modules(self.model, lambda: runner.run(inputs))
            self.job.report.findings.append(_random_numbers(parts))
        if written:
            self.job.report.findings.append(_state_written(written))

    def _require_same(self, runner: EagerRunner, spec: ModelSpec, inputs: Arrays, outputs: Arrays) -> None:
        import numpy as np

        from adaptrt.export.repeatability import random_modules, why_unrepeatable

        again = self._run(runner, inputs, spec)
        if all(
            np.array_equal(outputs[name], again[name], equal_nan=array.dtype.kind in "fc")
            for name, array in outputs.items()
        ):
            return
        comparison = Comparison(spec, FP32)
        comparison.add(outputs, again)
        # threads may add in another order, random numbers are never that close by chance
        if all(check.passed for check in comparison.checks()) and not random_modules(
            self.model, lambda: runner.run(inputs)
        ):
            return
        raise ModelError(
            f"The model does not repeat itself: it {why_unrepeatable(self.model, lambda: runner.run(inputs))}.",
            hint="There is nothing that a file could be compared with. Remove the randomness or the state from forward, "
            "or make the state an input and an output.",
        )

    def _lacks_batch(self, spec: ModelSpec) -> bool:
        """Whether an output has no row for each sample, so that only a whole larger batch can be compared."""
        from adaptrt.verify.batch_invariance import outputs_without_batch

        samples = [(sample.inputs, sample.reference) for sample in self.job.samples]
        without = outputs_without_batch([given for given, _ in samples], [found for _, found in samples], spec)
        return bool(without) and self.job.request.verify != "none" and batch_axis(spec).dynamic


def exercise_of(samples: Sequence[Sample], spec: ModelSpec) -> list[Exercise]:
    """How far each group of the outputs varies over the samples, and within their batches."""
    from adaptrt.verify.exercise import variation

    references = [sample.reference for sample in samples]
    return [Exercise(name, ratio) for name, ratio in variation(references, spec, FP32).items()]


def require_untouched(before: Fingerprint, after: Fingerprint, where: str, ignored: Sequence[str] = ()) -> None:
    """Refuse a model that was changed outside of patches: what is compared later would not be what was loaded."""
    from adaptrt.export.state import changed

    found = [name for name in changed(before, after) if name not in ignored]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise PatchError(
            f"The model was changed outside of patches {where}: {', '.join(found[:3])}{more}.",
            hint="Return a FunctionPatch, ModulePatch or SwitchPatch from the hook patches instead: those are undone, and "
            "link 1 compares what they do.",
        )


def narrowed(model: nn.Module) -> nn.Module:
    """A float32 copy of a float64 model: what is exported. The reference stays as it is."""
    try:
        return copy.deepcopy(model).float()
    except Exception as error:
        raise ModelError(
            f"The float64 model cannot be copied to float32: {type(error).__name__}: {error}",
            hint="Return model.float() from load_model, or give its inputs the type float64.",
        ) from error


def _random_numbers(parts: Sequence[str]) -> Finding:
    return Finding(
        rule="random-numbers",
        severity="warning",
        operator="",
        count=len(parts),
        message=f"random numbers are drawn in {', '.join(parts[:3])}, and did not change the outputs of the samples",
        advice="remove the random numbers from forward, or model.eval()",
    )


def _state_written(parts: Sequence[str]) -> Finding:
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return Finding(
        rule="state-written",
        severity="warning",
        operator="",
        count=len(parts),
        message=f"forward writes {', '.join(parts[:3])}{more} on every call: the file keeps what the example gave",
        advice="leave the state out of forward, or make it an input and an output",
    )


def _input_written(name: str) -> Finding:
    return Finding(
        rule="input-written",
        severity="warning",
        operator="",
        count=1,
        message=f"the model writes into its input {name!r}: calling it again with the same tensor gives another result",
        advice="x = x.mul(2) instead of x.mul_(2); clone the input before writing into it",
    )
