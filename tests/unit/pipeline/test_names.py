"""The outputs of a spec, compared with those of the model."""

from __future__ import annotations

import numpy as np
import pytest

from adaptrt import InputSpec, ModelError, ModelSpec, OutputGroup, OutputSpec
from adaptrt.pipeline.names import name_outputs
from adaptrt.verify.compare import slice_group

OUTPUT = np.arange(8, dtype=np.float32).reshape(2, 4)


def named(group: OutputGroup) -> ModelSpec:
    spec = ModelSpec((InputSpec.image(32, 32),), (OutputSpec("y", groups=(group,)),))
    return name_outputs(spec, (), {"output": OUTPUT})


@pytest.mark.parametrize(
    ("axis", "start", "stop", "first"), [(1, -1, None, 3), (-1, 0, -1, 0), (1, -4, 4, 0), (None, None, None, 0)]
)
def test_a_group_is_a_slice(axis: int | None, start: int | None, stop: int | None, first: int) -> None:
    group = OutputGroup("a", "scores", axis=axis, start=start, stop=stop)
    assert named(group).outputs[0].groups == (group,)
    assert slice_group(OUTPUT, group).flat[0] == first


@pytest.mark.parametrize(("axis", "start", "stop"), [(1, -5, None), (1, 2, 2), (1, 0, 5), (1, -1, -2), (2, 0, 1)])
def test_a_group_of_other_entries(axis: int, start: int | None, stop: int | None) -> None:
    with pytest.raises(ModelError, match="along axis"):
        named(OutputGroup("a", "scores", axis=axis, start=start, stop=stop))
