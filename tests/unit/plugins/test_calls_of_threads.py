"""Hooks that several threads call at once, as those of a loaded model: each thread asks about its own calls."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pluggy
import pytest
from patience import HANG

from adaptrt.plugins.recorder import Recorder

spec, impl = pluggy.HookspecMarker("calls"), pluggy.HookimplMarker("calls")


class Specs:
    @spec(firstresult=True)
    def process(self, image: str) -> None:
        """Any hook."""


class Failing:
    @impl
    def process(self, image: str) -> str:
        if image == "answered":
            return image
        raise ValueError(image)


class Between:
    """Runs the call of another thread between a failure and the question whose it was."""

    def __init__(self) -> None:
        self.meanwhile = lambda: None

    @impl(wrapper=True)
    def process(self, image: str) -> Generator[None, str, str]:
        try:
            return (yield)
        finally:
            if image == "first":
                self.meanwhile()


@pytest.fixture
def called() -> tuple[pluggy.PluginManager, Recorder, Between]:
    manager, recorder, between = pluggy.PluginManager("calls"), Recorder(), Between()
    manager.add_hookspecs(Specs)
    for name, plugin in (("failing", Failing()), ("between", between)):
        manager.register(recorder.stand_in(manager, plugin, name))
    return manager, recorder, between


def in_thread(manager: pluggy.PluginManager, image: str) -> None:
    def call() -> None:
        try:
            manager.hook.process(image=image)
        except ValueError:
            pass

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(HANG)


def test_the_plugin_that_failed_in_this_thread(called: tuple[pluggy.PluginManager, Recorder, Between]) -> None:
    manager, recorder, between = called
    between.meanwhile = lambda: in_thread(manager, "second")
    with pytest.raises(ValueError, match="first") as caught:
        manager.hook.process(image="first")
    assert recorder.failed_in(caught.value) == "failing"


def test_the_plugin_that_answered_in_this_thread(called: tuple[pluggy.PluginManager, Recorder, Between]) -> None:
    manager, recorder, _ = called
    in_thread(manager, "answered")
    assert recorder.answered("process") is None
    manager.hook.process(image="answered")
    assert recorder.answered("process") == "failing"
