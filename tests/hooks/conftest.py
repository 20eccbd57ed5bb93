"""Conversions with a plugin for the length of a test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import adaptrt
from adaptrt import Report

Convert = Callable[..., Report]

# a whole adapter: the smallest there can be
SMALL_ADAPTER = """
from adaptrt import UsageError, hookimpl

@hookimpl
def load_model(ctx):
    import torch
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 2, 3).eval()
"""


@pytest.fixture
def small_adapter(tiny: str, fake_distribution: Callable[..., Path]) -> Callable[..., str]:
    """Install an adapter ``small``, distribution ``adaptrt-small`` 1.0: a 3 x 3 convolution and what is added to it."""

    def install(source: str = "", name: str = "small") -> str:
        module = f"adapter_{name}"
        fake_distribution(
            f"adaptrt-{name}",
            {"adaptrt.adapters": {name: module}},
            modules={module: SMALL_ADAPTER + dedent(source)},
        )
        return name

    return install


@pytest.fixture
def convert_with(tiny: str, install_extension: Callable[..., str]) -> Convert:
    """Convert the tiny detector with an extension ``ext`` of this source; ``report.calls`` is its list ``calls``."""

    def convert(source: str = "", net: str = "detector", **options: Any) -> Report:
        module = install_extension("ext", "calls = []\n" + dedent(source))
        report = adaptrt.convert(net, adapter="tiny", **{"verify": "quick", **options})
        report.calls = getattr(sys.modules.get(module), "calls", None)  # type: ignore[attr-defined]
        return report

    return convert
