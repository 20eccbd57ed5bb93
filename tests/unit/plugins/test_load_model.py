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


def test_a_mean_that_no_pixel_has_is_a_warning(fake_distribution: Callable[..., Path], tmp_path: Path) -> None:
    source = """
import torch
from adaptrt import ImageTransform, InputSpec, ModelSpec, hookimpl

@hookimpl
def load_model():
    return torch.nn.Conv2d(3, 3, 1).eval()

@hookimpl
def model_spec():
    return ModelSpec(inputs=(InputSpec.image(8, 8),), image=ImageTransform(mean=(123.7, 116.3, 103.5)))
"""
    fake_distribution("fake-mean", {"adaptrt.adapters": {"mean": "fake_mean"}}, modules={"fake_mean": source})
    report = adaptrt.convert("any", adapter="mean", output=tmp_path / "out.onnx", verify="none", to=["onnx"])
    assert any("The mean 123.7 is outside the range of images" in warning for warning in report.warnings)
