"""Run the reference on every sample, and check that it is deterministic, returns finite values, and varies with its inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.pipeline.job import SAMPLES
from adaptrt.pipeline.verification.by_metric import is_judged_by_metric
from adaptrt.pipeline.verification.integers import find_integers
from adaptrt.pipeline.verification.samples import (
    Sample,
    batch_axis,
    batch_shapes,
    numbered,
    require_numbers,
    sample_shapes,
)
from adaptrt.pipeline.verification.selected import is_selected
from adaptrt.report import Exercise
from adaptrt.request import nearest_shape
from adaptrt.specs import ModelSpec, Precision
from adaptrt.specs.precisions import FP32
from adaptrt.verify.compare import Comparison
from adaptrt.vision.decoders.efficient_nms import CONVERGED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.pipeline.job import Job
    from adaptrt.specs.tensors import Arrays


@dataclass(kw_only=True)
class SampleRun(ABC):
    """The part of a job that runs its reference: a model or a file, as defined by a subclass."""

    job: Job

    title: ClassVar[str]  # of the reference, as it begins a sentence

    @abstractmethod
    def inputs(self, spec: ModelSpec, sizes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[Any]]:
        """The inputs of one sample."""

    @abstractmethod
    def outputs(self, spec: ModelSpec, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """The outputs for these inputs, by the names of the spec once they are known."""

    @abstractmethod
    def why_unrepeatable(self, inputs: Arrays) -> str:
        """Why two runs with the same inputs differ, as a clause that follows the title."""

    def with_outputs(self, spec: ModelSpec, outputs: Arrays) -> ModelSpec:  # noqa: ARG002 - for subclasses
        """The spec with the outputs of the first sample."""
        return spec

    def tables(self) -> Sequence[int]:
        """The sizes of the lookup tables for integer inputs, if known."""
        return ()

    def sample(self, inputs: Arrays, outputs: Arrays) -> Sample:
        return Sample(inputs, outputs)

    def run(self, spec: ModelSpec) -> ModelSpec:
        """Fill the job's samples; returns the spec with its outputs."""
        job = self.job
        verifying = job.request.verify != "none"
        shapes = sample_shapes(spec)
        # sizes that the network may refuse are all tried
        every = job.request.verify == "full" or bool(nearest_shape(spec))
        todo = list(numbered(spec, shapes if every else shapes[:1], SAMPLES[job.request.verify]))
        planned = len(todo)
        for done, (seed, sizes) in enumerate(todo):
            inputs = self.inputs(spec, sizes, seed)
            outputs = self.outputs(spec, inputs)
            if done == 0:
                spec = self.with_outputs(spec, outputs)
            names = [output.name for output in spec.outputs] or list(outputs)
            outputs = dict(zip(names, outputs.values(), strict=True))
            if verifying:
                require_numbers(outputs, seed, self.title)
            if done == 0 and verifying:
                self.require_repeatable(spec, inputs, outputs)
                integers = find_integers(self.tables(), spec, inputs, lambda given: self.outputs(spec, given))  # noqa: B023
                job.ctx = replace(job.ctx, integers=integers)
            job.samples.append(self.sample(inputs, outputs))
            if done + 1 == planned and self._lacks_batch(spec):
                todo.append((planned, batch_shapes(spec)))
            job.observer.stage_progress(done + 1, len(todo))
        if job.request.verify == "full":
            first = job.samples[0]
            self.require_same(spec, first.inputs, first.reference)
        if verifying:
            job.report.exercise = exercise_of(job.samples, spec, job.precision)
        return spec

    def require_repeatable(self, spec: ModelSpec, inputs: Arrays, outputs: Arrays) -> None:
        """Run the same inputs again, immediately: the outputs must be the same."""
        self.require_same(spec, inputs, outputs)

    def require_same(self, spec: ModelSpec, inputs: Arrays, outputs: Arrays) -> None:
        again = self.outputs(spec, inputs)
        if all(
            np.array_equal(outputs[name], again[name], equal_nan=array.dtype.kind in "fc")
            for name, array in outputs.items()
        ):
            return
        comparison = Comparison(spec, FP32)
        comparison.add(outputs, again)
        # threads may add in another order, random numbers are never that close by chance
        if all(check.passed for check in comparison.checks()) and not self.draws_random_numbers(inputs):
            return
        raise ModelError(
            f"{self.title} is not deterministic: it {self.why_unrepeatable(inputs)}.",
            hint="Converted files cannot be compared with it. Remove the randomness or the state from forward(), "
            "or make the state an input and an output.",
        )

    def draws_random_numbers(self, inputs: Arrays) -> bool:  # noqa: ARG002 - for subclasses
        return False

    def _lacks_batch(self, spec: ModelSpec) -> bool:
        """Whether an output has no row for each sample, so that only a whole larger batch can be compared."""
        from adaptrt.verify.batch_invariance import outputs_without_batch

        samples = [(sample.inputs, sample.reference) for sample in self.job.samples]
        without = outputs_without_batch([given for given, _ in samples], [found for _, found in samples], spec)
        return bool(without) and self.job.request.verify != "none" and batch_axis(spec).dynamic


def exercise_of(samples: Sequence[Sample], spec: ModelSpec, precision: Precision = FP32) -> list[Exercise]:
    """How far each group of the outputs varies over the samples, and within their batches; also by the limits of ``precision``."""
    from adaptrt.verify.exercise import variation

    if is_selected(spec):  # nms_converged is a status, not a result: images with 0 are ignored
        spec = replace(spec, outputs=tuple(output for output in spec.outputs if output.name != CONVERGED))
    references, whole = [sample.reference for sample in samples], _without_rows(samples, spec)
    compared = precision.reduced and not is_judged_by_metric(precision, spec)
    reduced = variation(references, spec, precision, whole) if compared else {}
    found = variation(references, spec, FP32, whole)
    return [Exercise(name, ratio, reduced.get(name)) for name, ratio in found.items()]


def _without_rows(samples: Sequence[Sample], spec: ModelSpec) -> set[str]:
    """The outputs without a row for each sample whose shape follows from the inputs' shapes, not from their values."""
    from adaptrt.verify.batch_invariance import outputs_without_batch

    given = [sample for sample in samples if sample.inputs]
    names = outputs_without_batch([sample.inputs for sample in given], [sample.reference for sample in given], spec)
    shapes = [tuple(sample.shapes.values()) for sample in given]
    return {
        name
        for name in names
        if len({*zip(shapes, (sample.reference[name].shape for sample in given), strict=True)}) == len({*shapes})
    }
