"""Link 1: the patched model is compared as every converted form is, with what the original leaves open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import adaptrt

torch = pytest.importorskip("torch", reason="needs torch")

RANKING = """
import torch
from adaptrt import Dim, FunctionPatch, InputSpec, ModelSpec, OutputGroup, OutputSpec, hookimpl


def rest(x):
    # what is left behind the fifth decimal: its order is all rounding
    return x - x.round(decimals=5)


class Ranking(torch.nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.tied = tied

    def scores(self, x):
        return rest(x) if self.tied else x

    def forward(self, x):
        return self.scores(x).argsort(1).float() / 10


@hookimpl
def load_model(ctx):
    return Ranking(ctx.request.source == "tied")


@hookimpl
def model_spec(ctx, model):
    ranks = OutputSpec("ranks", groups=(OutputGroup("ranks", "scores", rank_sensitive=True),))
    return ModelSpec((InputSpec("x", ((Dim(1, 2, 4, "batch"), Dim.fixed(6)),)),), outputs=(ranks,))


@hookimpl
def patches(ctx, model):
    def reordered(original, self, x):
        return CHANGED

    return [FunctionPatch(target=f"{__name__}:Ranking.scores", requires="torch>=2", reason="r", replacement=reordered)]
"""


@pytest.fixture
def convert(tiny: str, fake_distribution: Callable[..., object]) -> Callable[..., adaptrt.Report]:
    def run(source: str, changed: str) -> adaptrt.Report:
        fake_distribution(
            "adaptrt-ranking",
            {"adaptrt.adapters": {"ranking": "ranking_adapter"}},
            modules={"ranking_adapter": RANKING.replace("CHANGED", changed)},
        )
        return adaptrt.convert(source, adapter="ranking", verify="quick", exporter="torchscript", html=False)

    return run


def test_near_ties_of_the_original_are_skipped(convert: Callable[..., adaptrt.Report]) -> None:
    report = convert("tied", "original(self, x * (1 + 3e-6))")
    link = report.link(1)
    assert (link.status, link.reason.split(":")[0]) == ("not run", "every sample skipped")
    assert report.verdict is not None
    assert report.verdict.word != "verified"


def test_a_patch_that_changes_ranks_is_not_excused_by_itself(convert: Callable[..., adaptrt.Report]) -> None:
    """The patch makes the model unstable; the original is not."""
    with pytest.raises(adaptrt.PatchError, match="Link 1 .* fails: ranks"):
        convert("distinct", "rest(x)")


CHANGES = """
import torch
from adaptrt import Dim, FunctionPatch, InputSpec, ModelSpec, OutputSpec, hookimpl


@hookimpl
def load_model(ctx):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())


@hookimpl
def model_spec(ctx, model):
    return ModelSpec((InputSpec("x", ((Dim(1, 2, 4, "batch"), Dim.fixed(4)),)),), outputs=(OutputSpec("y"),))


@hookimpl
def HOOK:
    CHANGE
    return RESULT
"""


@pytest.mark.parametrize(
    ("hook", "change", "result", "said"),
    [
        (
            "patches(ctx, model)",
            "model[0].weight.data.mul_(2)",
            "[]",
            r"by the hook patches, outside of patches: parameter `0\.weight`",
        ),
        pytest.param(
            "patches(ctx, model)",
            "model[0].register_forward_hook(print)",
            "[]",
            r"by the hook patches, outside of patches: hooks of `0`",
            marks=pytest.mark.full,
        ),
        pytest.param(
            "patches(ctx, model)",
            "torch.nn.ReLU.forward = lambda self, x: x",
            "[]",
            r"method `ReLU\.forward`",
            marks=pytest.mark.full,
        ),
        (
            "export_onnx(ctx, model, inputs, spec)",
            "model[0].bias.data.add_(1); path = ctx.workdir / 'x.onnx'; "
            "torch.onnx.export(model, tuple(inputs.values()), str(path), input_names=['x'], output_names=['y'], dynamo=False, "
            "dynamic_axes={'x': {0: 'batch'}, 'y': {0: 'batch'}})",
            "path",
            r"during the export, outside of patches: parameter `0\.bias`",
        ),
    ],
)
def test_a_model_that_is_changed_outside_of_patches_ends_the_conversion(
    tiny: str, fake_distribution: Callable[..., object], hook: str, change: str, result: str, said: str
) -> None:
    forward = torch.nn.ReLU.forward
    source = CHANGES.replace("HOOK", hook).replace("CHANGE", change).replace("RESULT", result)
    fake_distribution(
        "adaptrt-changing", {"adaptrt.adapters": {"changing": "changing_adapter"}}, modules={"changing_adapter": source}
    )
    try:
        with pytest.raises(adaptrt.PatchError, match=said) as caught:
            adaptrt.convert("any", adapter="changing", verify="quick", exporter="torchscript", html=False)
    finally:
        torch.nn.ReLU.forward = forward  # type: ignore[method-assign]
    assert "outside of patches" in caught.value.message
    assert "FunctionPatch" in str(caught.value.hint)


CACHES = """
from types import SimpleNamespace

import torch
from adaptrt import Dim, InputSpec, ModelSpec, OutputSpec, hookimpl


class Refusing:
    def __init__(self):
        self.store = {}

    def __getattr__(self, name):
        return self.store[name]


class Cached(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.grids, self.stats = torch.nn.Linear(4, 3), {}, SimpleNamespace(calls=0, more=Refusing())

    def forward(self, x):
        self.stats.calls += 1
        if torch.jit.is_tracing():
            self.grids["export"] = SimpleNamespace(size=tuple(x.shape[1:]))
        return self.linear(x)


@hookimpl
def load_model(ctx):
    torch.manual_seed(0)
    return Cached()


@hookimpl
def model_spec(ctx, model):
    return ModelSpec((InputSpec("x", ((Dim(1, 2, 4, "batch"), Dim.fixed(4)),)),), outputs=(OutputSpec("y"),))
"""


def test_a_cache_that_a_trace_fills_is_no_modification(tiny: str, fake_distribution: Callable[..., object]) -> None:
    fake_distribution(
        "adaptrt-caching", {"adaptrt.adapters": {"caching": "caching_adapter"}}, modules={"caching_adapter": CACHES}
    )
    report = adaptrt.convert("any", adapter="caching", verify="quick", exporter="torchscript", html=False)
    (found,) = [finding for finding in report.findings if finding.rule == "state-written"]
    assert found.message == (
        "forward() modifies object `stats` on every call: if the outputs depend on that, the file keeps the value from the export"
    )
