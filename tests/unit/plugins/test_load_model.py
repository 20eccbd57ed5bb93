"""What an adapter's ``load_model`` may return."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import adaptrt

pytest.importorskip("torch", reason="needs torch")


def test_a_model_in_half_precision_names_the_adapter(fake_distribution: Callable[..., Path], tmp_path: Path) -> None:
    source = """
import torch
from adaptrt import hookimpl

@hookimpl
def load_model():
    return torch.nn.Conv2d(3, 3, 1).half()
"""
    fake_distribution("fake-half", {"adaptrt.adapters": {"half": "fake_half"}}, modules={"fake_half": source})
    with pytest.raises(adaptrt.PluginError, match=r"half \(fake-half .*float32 model on the CPU.*weight in float16"):
        adaptrt.convert("any", adapter="half", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
