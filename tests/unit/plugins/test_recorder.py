"""What calls of hooks leave behind."""

from __future__ import annotations

import os

import pluggy
import pytest

from adaptrt.plugins.recorder import Recorder

spec, impl = pluggy.HookspecMarker("threads"), pluggy.HookimplMarker("threads")


class Specs:
    @spec
    def load(self, fails: bool) -> None:
        """Any hook."""


class Framework:
    """Ultralytics sets the variable to 1 when it is imported, which happens in a hook."""

    @impl
    def load(self, fails: bool) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        if fails:
            raise RuntimeError("failed")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("given", [None, "6"])
def test_a_framework_does_not_change_the_number_of_threads(
    given: str | None, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime, which takes it from the environment, would run with one thread beside an eager model with many."""
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # restored at the end of the test
    monkeypatch.delenv("OMP_NUM_THREADS")
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    manager = pluggy.PluginManager("threads")
    manager.add_hookspecs(Specs)
    manager.register(Recorder().stand_in(manager, Framework(), "framework"))
    try:
        manager.hook.load(fails=fails)
    except RuntimeError:
        assert fails
    assert os.environ.get("OMP_NUM_THREADS") == given
