"""Limits on threads that frameworks set, while other threads work."""

from __future__ import annotations

import os
import threading

import pluggy
import pytest
from patience import HANG

from adaptrt.plugins.recorder import Recorder

spec, impl = pluggy.HookspecMarker("threads"), pluggy.HookimplMarker("threads")


class Specs:
    @spec
    def load(self) -> None:
        """Any hook."""


def test_a_hook_that_begins_while_another_imports_a_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would restore the framework's limits after those of the user were restored, for good."""
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    imported, preprocessing, ended = (threading.Event() for _ in range(3))

    class Import:
        @impl
        def load(self) -> None:
            os.environ["OMP_NUM_THREADS"] = "1"
            imported.set()
            assert preprocessing.wait(HANG)

    class Preprocess:
        @impl
        def load(self) -> None:
            preprocessing.set()
            assert ended.wait(HANG)

    first, second = (threading.Thread(target=call, args=(plugin,)) for plugin in (Import(), Preprocess()))
    first.start()
    assert imported.wait(HANG)
    second.start()
    first.join(HANG)
    ended.set()
    second.join(HANG)
    assert os.environ["OMP_NUM_THREADS"] == "6"


def test_a_model_that_is_loaded_while_a_hook_imports_a_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would run with one thread for good."""
    from adaptrt.plugins.thread_limits import kept_thread_limits

    runner = pytest.importorskip("adaptrt.backends.onnxruntime.runner", reason="it needs ONNX Runtime")
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    with kept_thread_limits:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert runner._threads_of_environment() == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert runner._threads_of_environment() == 3


def test_torch_keeps_its_number_of_threads() -> None:
    """Ultralytics sets it for a prediction, to one fewer than there are cores and at most 8, and leaves it there."""
    torch = pytest.importorskip("torch", reason="the number of threads is torch's")

    class Predict:
        @impl
        def load(self) -> None:
            torch.set_num_threads(1)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        call(Predict())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def call(plugin: object) -> None:
    manager = pluggy.PluginManager("threads")
    manager.add_hookspecs(Specs)
    manager.register(Recorder().stand_in(manager, plugin, "plugin"))
    manager.hook.load()
