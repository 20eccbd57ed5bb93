"""What exporting changes of torch is compared in eager mode, on and off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="what is exported is torch's")

from torch import nn  # noqa: E402

from adaptrt import Dim, InputSpec, ModelSpec, OutputGroup, OutputSpec, VerificationError  # noqa: E402
from adaptrt.export.context import as_exported, export_context, run_watched  # noqa: E402
from adaptrt.export.eager import EagerRunner  # noqa: E402
from adaptrt.pipeline.verification.export_context import require_same_result  # noqa: E402
from adaptrt.pipeline.verification.samples import Sample  # noqa: E402
from adaptrt.report import Link  # noqa: E402


class Encoder(nn.Module):
    """Padded positions are 0 on torch's fast path, and computed without it."""

    def __init__(self, *, nested: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)

    def forward(self, x: Any, mask: Any) -> Any:
        return self.encoder(x, src_key_padding_mask=mask)


def end_padding() -> tuple[Any, Any]:
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 4:] = True
    return torch.randn(2, 6, 16), mask


@pytest.mark.parametrize("nested", [True, False])
def test_the_fast_path_changes_padded_positions(nested: bool) -> None:
    torch.manual_seed(0)
    net, (x, mask) = Encoder(nested=nested).eval(), end_padding()
    with torch.inference_mode():
        assert run_watched(lambda: net(x, mask))[1]
        usual = net(x, mask)
        with as_exported():
            exported = net(x, mask)
    assert torch.allclose(usual[~mask], exported[~mask], atol=1e-5)
    assert torch.allclose(usual, exported, atol=1e-5) == (not nested)


@pytest.mark.parametrize(
    ("net", "changed"),
    [(nn.Conv2d(3, 2, 3), False), (nn.AdaptiveAvgPool2d(1), False), (nn.AdaptiveAvgPool2d((1, None)), True)],
)
def test_only_pools_of_unknown_size_depend_on_the_export(net: Any, changed: bool) -> None:
    x = torch.randn(1, 3, 4, 4)
    with torch.inference_mode():
        result, found = run_watched(lambda: net(x))
        assert found == changed
        assert torch.equal(result, net(x))


@pytest.mark.parametrize("kind", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@pytest.mark.parametrize("size", [(1, None), (None, 1), (2, None), (None, None), 1, (3, 2)])
def test_pools_keep_their_result(kind: Any, size: Any) -> None:
    x, pool = torch.randn(2, 3, 6, 8), kind(size)
    before = nn.functional.adaptive_avg_pool2d
    expected = pool(x)
    with export_context():
        assert torch.allclose(pool(x), expected, atol=1e-6)
    assert nn.functional.adaptive_avg_pool2d is before


def test_a_pool_with_indices_stays_one() -> None:
    pool, x = nn.AdaptiveMaxPool2d((1, None), return_indices=True), torch.randn(1, 2, 4, 4)
    with export_context():
        values, indices = pool(x)
    assert torch.equal(values, x.amax(2, keepdim=True))
    assert indices.dtype == torch.int64


class Ranked(nn.Module):
    """Four candidates with equal scores up to rounding, which is other on torch's fast path; the rank of the best is returned, scaled."""

    def __init__(self, wrong: float = 0.0) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.wrong = wrong

    def forward(self, x: Any) -> Any:
        fast = torch.backends.mha.get_fastpath_enabled()
        scores = x[:, 0, :4] + (torch.tensor([0, 6e-8, 0, 0]) if fast else 0)
        first = 1.0 + scores.argmax(1, keepdim=True)
        return 5 * first + 0 * self.encoder(x).mean((1, 2))[:, None] + (0.0 if fast else self.wrong)


def ranked(best: float, wrong: float = 0.0, *, sensitive: bool = True) -> Link:
    """The link after the comparison; ``best``: the score of one candidate, those of the others are 0.5."""
    torch.manual_seed(0)
    net = Ranked(wrong).eval()
    spec = ModelSpec(
        (InputSpec("x", ((Dim.fixed(1), Dim.fixed(3), Dim.fixed(16)),)),),
        (OutputSpec("y", groups=(OutputGroup("y", "values", rank_sensitive=sensitive),)),),
    )
    inputs = {"x": np.full((1, 3, 16), 0.5, np.float32)}
    inputs["x"][0, 0, 1] = best
    runner = EagerRunner(net, ("y",))
    sample = Sample(inputs, runner.run(inputs), again=runner.run)
    link = Link(2, "ONNX Runtime vs. reference")
    require_same_result(runner, [sample], spec, link)
    return link


def test_ranks_that_rounding_changes_are_no_cause() -> None:
    """As in DINO, whose queries go by the rank of their cells: link 2 skips such samples too."""
    assert ranked(0.5).status != "failed"
    with pytest.raises(VerificationError, match="depends on torch's fused attention"):
        ranked(0.5, sensitive=False)
    with pytest.raises(VerificationError, match="depends on torch's fused attention"):
        ranked(0.9, wrong=0.5)
    assert ranked(0.9).status != "failed"
