"""What a plugin's backend returns is checked where adaptrt calls it; the error names the plugin and the method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adaptrt.errors import PluginError
from adaptrt.specs import backend_calls
from adaptrt.specs.backends import BACKENDS, Built, Expression

BACKEND = """
class MyBackend:
    name, title, suffixes, devices, targets = "mine", "Mine", (".mine",), ("cpu",), {}
    def unavailable(self, target, device=0): return None
    def express(self, precision, target): return self.result
    def build(self, request): return self.result
    def open(self, path, options): return self.result
    def describe(self, path): return self.result
OBJECT = MyBackend()
"""
RUNNER = SimpleNamespace(backend="mine", run=None, close=None, spec=None, warnings=())


@pytest.fixture
def backend(fake_distribution: Callable[..., Path]) -> Any:
    fake_distribution("adaptrt-mine", {"adaptrt.backends": {"mine": "mine:OBJECT"}}, modules={"mine": BACKEND})
    return BACKENDS.find("mine")


@pytest.mark.parametrize(
    ("call", "result", "message"),
    [
        ("expression_of", None, "must return an Expression from express, but returned nothing"),
        ("describe_file", "text", "must return a Description from describe, but returned str 'text'"),
        ("open_runner", None, "must return a runner with spec, warnings, run, close, backend from open, but returned nothing"),
        ("open_runner", SimpleNamespace(**{**vars(RUNNER), "spec": None, "run": None}), ""),
        ("build_file", Path("a.mine"), "must return a Built from build"),
        ("build_file", Built(files={}), "must return a Built whose files map a suffix to each file from build"),
        ("build_file", Built(files={".bar": Path("a.bar")}), r"returned the suffix '.bar' first from build, but opens files \.mine"),
        ("build_file", Built(files={".mine": Path("missing.mine")}), "returned a file from build that does not exist: missing.mine"),
        ("build_file", Built(files={".mine": Path(__file__)}), ""),
        ("expression_of", Expression(), ""),
    ],
)  # fmt: skip
def test_results(backend: Any, call: str, result: Any, message: str) -> None:
    backend.result = result
    arguments = (backend, None) if call in ("build_file", "describe_file") else (backend, None, None)
    if not message:
        assert getattr(backend_calls, call)(*arguments) is result
        return
    with pytest.raises(PluginError, match=message) as caught:
        getattr(backend_calls, call)(*arguments)
    assert caught.value.message.startswith("Backend 'mine' (adaptrt-mine ")


def test_a_runner_without_a_spec(backend: Any) -> None:
    backend.result = SimpleNamespace(**{name: value for name, value in vars(RUNNER).items() if name != "spec"})
    with pytest.raises(PluginError, match="must return a runner with spec from open"):
        backend_calls.open_runner(backend, None, None)  # type: ignore[arg-type]
