"""Check that a graph whose batch was made dynamic still computes the same function."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from adaptrt.errors import AdaptrtError, GraphError
from adaptrt.report import Check
from adaptrt.request import Request
from adaptrt.specs import ModelSpec
from adaptrt.specs.precisions import FP32
from adaptrt.specs.runners import Runner
from adaptrt.verify.compare import Comparison
from adaptrt.vision.examples import example_arrays

# batches to try, as multiples of the fixed one
_MULTIPLES = (1, 2, 3)


def check_dynamic_batch(
    fixed: Runner,
    dynamic: Runner,
    sizes: Mapping[str, tuple[int | str | None, ...]],
    spec: ModelSpec,
    request: Request,
) -> tuple[list[Check], str]:
    """Compare several batches of the fixed size, each alone in the fixed graph, with all of them joined in the dynamic one.

    ``sizes`` are the shapes of the inputs of the fixed graph.
    """
    shapes = {
        tensor.name: tuple(
            known if isinstance(known, int) else dim.opt
            for known, dim in zip(sizes[tensor.name], tensor.profiles[0], strict=True)
        )
        for tensor in spec.inputs
    }
    samples = [example_arrays(spec, shapes, request.seed + seed, request.image) for seed in range(max(_MULTIPLES))]
    alone = [fixed.run(sample) for sample in samples]
    comparison = Comparison(spec, FP32, kind="batch")
    for count in _MULTIPLES:
        joined = {name: np.concatenate([sample[name] for sample in samples[:count]]) for name in samples[0]}
        try:
            outputs = dynamic.run(joined)
        except AdaptrtError as error:
            raise GraphError(
                f"The graph does not run with {count} times the fixed batch size. {error.message}"
            ) from error
        expected = {name: np.concatenate([one[name] for one in alone[:count]]) for name in alone[0]}
        comparison.add(expected, outputs)
    batch = next(iter(shapes.values()))[0]
    return comparison.checks(), f"batches {', '.join(str(batch * count) for count in _MULTIPLES)} compared with {batch}"
