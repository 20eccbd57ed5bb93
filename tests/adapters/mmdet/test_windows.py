"""Windows of Swin in a traced graph, at another batch size than it was traced with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from adaptrt_mmdet.stand_in import ensure_ops
from adaptrt_mmdet.windows import joined_windows, window_patches

LAYER = SimpleNamespace(window_size=4)


class Join(torch.nn.Module):
    def __init__(self, *, patched: bool) -> None:
        super().__init__()
        self.patched = patched

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        ensure_ops()
        from mmdet.models.backbones.swin import ShiftWindowMSA

        original = ShiftWindowMSA.window_reverse
        found: torch.Tensor = (
            joined_windows(original, LAYER, windows, 8, 12) if self.patched else original(LAYER, windows, 8, 12)
        )
        return found


@pytest.mark.parametrize("batch", [1, 3])
def test_the_batch_stays_dynamic(batch: int) -> None:
    example, windows = (torch.arange(count * 6 * 16 * 4.0).reshape(-1, 4, 4, 4) for count in (2, batch))
    expected = Join(patched=False)(windows)
    assert torch.equal(Join(patched=True)(windows), expected)
    assert torch.equal(torch.jit.trace(Join(patched=True), example)(windows), expected)
    constant = torch.jit.trace(Join(patched=False), example)
    if batch == 1:
        assert not torch.equal(constant(windows).flatten(), expected.flatten()), "mmdet's own mixes them up"


def test_only_for_this_backbone() -> None:
    assert window_patches(torch.nn.Linear(2, 2)) == []
