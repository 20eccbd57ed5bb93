"""The reference of a build: the ONNX file itself, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from adaptrt.pipeline.verification.sample_run import SampleRun
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.runners import Runner
    from adaptrt.specs.tensors import Arrays

# operators whose result is not decided by their inputs
_RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",
}


@dataclass(kw_only=True)
class FileReference(SampleRun):
    """``operators`` are those of the graph."""

    runner: Runner
    operators: Mapping[str, int]

    title: ClassVar[str] = "The ONNX file"

    def inputs(self, spec: ModelSpec, sizes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[Any]]:
        from adaptrt.vision.examples import example_arrays

        request = self.job.request
        return example_arrays(spec, sizes, seed + request.seed, request.image, self.job.ctx.integers)

    def outputs(self, spec: ModelSpec, inputs: Arrays) -> dict[str, NDArray[Any]]:
        found = self.runner.run(inputs)
        return {output.name: found[output.name] for output in spec.outputs} if spec.outputs else dict(found)

    def why_unrepeatable(self, inputs: Arrays) -> str:  # noqa: ARG002 - the operators say it
        random = sorted(_RANDOM & set(self.operators))
        if random:
            return f"draws random numbers ({', '.join(random)})"
        return "returns different results for the same inputs in ONNX Runtime"

    def sample(self, inputs: Arrays, outputs: Arrays) -> Sample:
        return Sample(inputs, outputs, again=self.runner.run)
