"""Whether what a distribution needs is here, extras included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adaptrt.plugins.discovery import unmet


def test_what_is_here_is_met() -> None:
    assert unmet("pluggy>=1") is None


def test_what_is_missing_or_too_old_is_said() -> None:
    assert unmet("no-such-distribution>=2") == "no-such-distribution is missing (needs no-such-distribution>=2)"
    assert "(needs pluggy>=99)" in (unmet("pluggy>=99") or "")


def test_what_does_not_apply_here_is_no_problem() -> None:
    assert unmet("no-such-distribution; python_version < '3'") is None


def test_what_an_extra_brings_is_needed_too(fake_distribution: Callable[..., Path]) -> None:
    fake_distribution("fake-tools", {}, requires=["no-such-distribution>=3; extra == 'export'", "pluggy"])
    assert unmet("fake-tools") is None
    assert unmet("fake-tools[other]") is None
    assert unmet("fake-tools[export]") == "no-such-distribution is missing (needs no-such-distribution>=3)"


def test_another_distribution_of_the_same_module_will_do(
    fake_distribution: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptrt.plugins import discovery

    monkeypatch.setitem(discovery.ALTERNATIVES, "fake-runtime", ("fake-runtime-gpu",))
    assert unmet("fake-runtime>=1") is not None
    fake_distribution("fake-runtime-gpu", {}, version="1.5")
    assert unmet("fake-runtime>=1") is None
