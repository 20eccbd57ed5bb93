"""What calls of hooks leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pluggy
import pytest

from adaptrt.plugins.recorder import Recorder

spec, impl = pluggy.HookspecMarker("threads"), pluggy.HookimplMarker("threads")


class Specs:
    @spec
    def load(self, fails: bool) -> None:
        """Any hook."""


class Framework:
    """As Ultralytics when it is imported, which happens in a hook."""

    @impl
    def load(self, fails: bool) -> None:
        import cv2

        os.environ["OMP_NUM_THREADS"] = "1"
        cv2.setNumThreads(0)
        if fails:
            raise RuntimeError("failed")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("given", [None, "6"])
def test_a_framework_does_not_change_the_number_of_threads(
    given: str | None, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime, which takes it from the environment, would run with one thread beside an eager model with many."""
    import cv2

    monkeypatch.setenv("OMP_NUM_THREADS", "")  # restored at the end of the test
    monkeypatch.delenv("OMP_NUM_THREADS")
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        call_hook(fails)
        assert cv2.getNumThreads() == 3, "images would be resized by one thread"
    finally:
        cv2.setNumThreads(before)
    assert os.environ.get("OMP_NUM_THREADS") == given


def call_hook(fails: bool) -> None:
    manager = pluggy.PluginManager("threads")
    manager.add_hookspecs(Specs)
    manager.register(Recorder().stand_in(manager, Framework(), "framework"))
    try:
        manager.hook.load(fails=fails)
    except RuntimeError:
        assert fails


def test_a_framework_that_imports_opencv_leaves_it_its_threads() -> None:
    program = "import test_recorder, sys; assert 'cv2' not in sys.modules; test_recorder.call_hook(False); import cv2; print(cv2.getNumThreads())"
    folder = Path(__file__).parent
    found = [
        subprocess.run([sys.executable, "-c", text], cwd=folder, check=True, capture_output=True, text=True).stdout
        for text in (program, "import cv2; print(cv2.getNumThreads())")
    ]
    assert found[0] == found[1]
