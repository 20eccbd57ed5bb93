"""Rounding errors of the model itself: measured, and told from an error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
from torch import nn  # noqa: E402

from adaptrt import InputSpec, ModelSpec, OutputGroup, OutputSpec  # noqa: E402
from adaptrt.export.eager import EagerRunner  # noqa: E402
from adaptrt.export.rounding import weights_rounded_differently  # noqa: E402
from adaptrt.export.state import fingerprint  # noqa: E402
from adaptrt.pipeline.verification.samples import Sample  # noqa: E402
from adaptrt.pipeline.verification.verify import check_batch_invariance, compare_samples  # noqa: E402
from adaptrt.report import Check  # noqa: E402
from adaptrt.specs import parse_shape  # noqa: E402
from adaptrt.specs.dims import Dim  # noqa: E402
from adaptrt.specs.precisions import FP32  # noqa: E402

SPEC = ModelSpec((InputSpec("x", ((Dim.fixed(8), Dim.fixed(512)),)),), outputs=(OutputSpec("y"),))


class Difference(nn.Module):
    """Two nearly equal sums: the rounding errors of each are large beside what is left."""

    def __init__(self, apart: float) -> None:
        super().__init__()
        self.apart = apart
        torch.manual_seed(0)
        self.one, self.other = nn.Linear(512, 4), nn.Linear(512, 4)
        with torch.no_grad():
            self.other.weight.copy_(self.one.weight * (1 + apart * torch.randn(4, 512)))
            self.other.bias.copy_(self.one.bias)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.one(x) - self.other(x)) / self.apart


def compared(model: nn.Module, factor: float = 1.0) -> Check:
    """The check of the model in float64, times a factor, with the model in float32 as the reference."""
    inputs = {"x": np.random.default_rng(0).random((8, 512), dtype=np.float32)}
    runner, exact = EagerRunner(model, ("y",)), EagerRunner(copy.deepcopy(model).double(), ("y",))
    sample = Sample(inputs, runner.run(inputs), runner.run, runner.rounded_differently)

    def converted(_: Any) -> dict[str, Any]:
        return {"y": (exact.run(inputs)["y"] * factor).astype(np.float32)}

    (check,), _ = compare_samples(converted, [sample], SPEC, FP32)
    return check


def test_weights_are_moved_and_restored() -> None:
    model = Difference(0.1)
    before = fingerprint(model)
    inputs = {"x": np.random.default_rng(0).random((2, 512), dtype=np.float32)}
    runner = EagerRunner(model, ("y",))
    outputs = [runner.run(inputs)["y"], *(runner.rounded_differently(inputs, seed)["y"] for seed in range(2))]
    assert not np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[1], outputs[2])
    assert np.allclose(outputs[0], outputs[1], atol=1e-4)
    with pytest.raises(KeyError), weights_rounded_differently(model, torch.Generator()):
        raise KeyError
    assert fingerprint(model) == before


def test_a_result_within_the_models_own_rounding_errors_passes() -> None:
    """How large they are depends on the order of sums, and so on the processor: of several models, the first that needs wider limits."""
    checks = (compared(Difference(apart)) for apart in (4e-3, 3e-3, 2e-3, 1.5e-3, 1e-3, 7e-4))
    check = next(one for one in checks if one.widened > 1 or not one.passed)
    assert check.passed
    assert 1 < check.widened <= 8
    assert check.value > check.limit / check.widened  # which would have failed
    assert check.allows == pytest.approx(check.limit)
    assert "rounding errors of the model itself" in check.reason


def test_an_error_beyond_them_does_not() -> None:
    check = compared(Difference(3e-3), factor=1.001)
    assert not check.passed
    assert check.widened == 1.0
    assert check.detail.startswith("Rounding errors of the model itself reach ")


def test_limits_stay_where_rounding_errors_are_small() -> None:
    check = compared(Difference(1.0), factor=1.0002)
    assert not check.passed
    assert check.widened == 1.0
    assert not check.detail
    assert compared(Difference(1.0)).passed


def test_no_model_is_so_sensitive_that_anything_passes() -> None:
    """Most of the difference is rounding error."""
    check = compared(Difference(1e-5))
    assert not check.passed


def batched(
    convert: Callable[[int, Any], Any], reference: nn.Module, shape: str, outputs: tuple[OutputSpec, ...], count: int
) -> tuple[Check, str]:
    """The check of batch invariance of a file that computes ``convert(batch, inputs)``; the reference is a model."""
    spec = ModelSpec((InputSpec("x", (parse_shape(shape),)),), outputs=outputs)
    runner, rng = EagerRunner(reference, ("y",)), np.random.default_rng(0)
    inputs = [{"x": rng.random((count, 512), dtype=np.float32)} for _ in range(3)]
    given = [Sample(one, runner.run(one), runner.run, runner.rounded_differently) for one in inputs]

    def run(arrays: Any) -> dict[str, Any]:
        return {"y": convert(len(arrays["x"]), arrays)}

    (check,), note = check_batch_invariance(run, given, [run(one) for one in inputs], spec, "full")
    return check, note


@pytest.mark.parametrize(("shape", "count"), [("B:1..4x512", 1), ("B:2..4x512", 2)])
@pytest.mark.parametrize(("apart", "factor", "passes"), [(3e-3, 1.0, True), (3e-3, 1.01, False), (1.0, 1.0002, False)])
def test_a_batch_may_round_differently(apart: float, factor: float, passes: bool, shape: str, count: int) -> None:
    """Kernels sum in another order for other batches: here in float64."""
    model = Difference(apart)
    exact = EagerRunner(copy.deepcopy(model).double(), ("y",))
    plain = EagerRunner(model, ("y",))

    def convert(batch: int, arrays: Any) -> Any:
        if batch == count:
            return plain.run(arrays)["y"]
        return (exact.run(arrays)["y"] * factor).astype(np.float32)

    check, note = batched(convert, model, shape, (OutputSpec("y"),), count)
    assert note.startswith("batches")
    assert check.passed is passes
    assert (check.widened > 1) is (passes and apart < 1)


class Steps(nn.Module):
    """A sum, rounded down to a whole number of steps; rounding errors decide it where these are small."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.floor(x.sum(1) / self.step).long()


@pytest.mark.parametrize(("step", "passes"), [(1e-5, True), (1e4, False)])
def test_a_batch_may_decide_ties_differently(step: float, passes: bool) -> None:
    model = Steps(step)
    plain = EagerRunner(model, ("y",))

    def convert(batch: int, arrays: Any) -> Any:
        return plain.run(arrays)["y"] + (batch > 1)

    check, _ = batched(convert, model, "B:1..4x512", (OutputSpec("y", dtype="int64"),), 1)
    assert check.passed is passes
    assert check.unit == "share"


class Ranked(nn.Module):
    """The places of four numbers, best first; rounding errors decide them unless they are kept ``apart``."""

    def __init__(self, apart: float) -> None:
        super().__init__()
        self.register_buffer("apart", torch.arange(4) * apart)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.argsort((x.view(-1, 4, 128).sum(2) * 1e4) % 1 + self.apart, 1, descending=True).float()


@pytest.mark.parametrize(("apart", "passes"), [(0.0, True), (2.0, False)])
def test_a_batch_may_rank_equals_differently(apart: float, passes: bool) -> None:
    model = Ranked(apart)
    plain = EagerRunner(model, ("y",))
    output = OutputSpec("y", groups=(OutputGroup("y", "scores", rank_sensitive=True),))

    def convert(batch: int, arrays: Any) -> Any:
        ranks = plain.run(arrays)["y"].copy()
        if batch == 3:
            ranks[:, :2] = ranks[:, 1::-1]
        return ranks

    check, note = batched(convert, model, "B:1..4x512", (output,), 1)
    assert check.passed is passes
    assert ("rows of batches skipped: the reference is unstable there" in note) is passes
