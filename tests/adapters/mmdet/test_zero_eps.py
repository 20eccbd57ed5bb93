"""Batch norms with eps=0, as in mmdet's NAS-FCOS, which torch 2.11 rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from narrow_detr import CONFIG, NARROW, perturb

from adaptrt import Conversion, Request
from adaptrt.checkpoint import batch_norms
from adaptrt_mmdet.options import DetrOptions
from adaptrt_mmdet.sources import ZERO_EPS, open_source


def opened(tmp_path: Path, **changes: Any) -> tuple[Any, Conversion]:
    ctx = Conversion(Request(str(CONFIG), "detr"), DetrOptions(cfg={**NARROW, **changes}), tmp_path)
    return open_source(ctx).detector, ctx


def test_the_features_are_those_of_eps_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, compared with the operator of torch, which takes 0; and the report says so."""
    detector, ctx = opened(tmp_path, **{"model.backbone.norm_cfg.eps": 0.0})
    assert ctx.notes.count(ZERO_EPS) == 1
    assert len(batch_norms(detector)) > 10
    perturb(detector)
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        found = detector.extract_feat(images)

        def without_check(values: Any, mean: Any, var: Any, weight: Any, bias: Any, *rest: Any) -> torch.Tensor:
            return torch.batch_norm(values, weight, bias, mean, var, False, 0.1, 0.0, True)

        monkeypatch.setattr(torch.nn.functional, "batch_norm", without_check)
        expected = detector.extract_feat(images)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert float(found[-1].std()) > 0.01


def test_other_eps_stay(tmp_path: Path) -> None:
    detector, ctx = opened(tmp_path)
    assert {norm.eps for norm in batch_norms(detector)} == {1e-5}
    assert ZERO_EPS not in ctx.notes
