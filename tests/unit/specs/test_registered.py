"""A mistake in an object that an entry point names is an error that names the distribution and the member."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adaptrt.errors import PluginError
from adaptrt.specs.backends import BACKENDS
from adaptrt.specs.tasks import TASKS

BACKEND = """
class MyBackend:
    name = "mine"
    title = "Mine"
    suffixes = (".mine",)
    devices = ("cpu",)
    targets = {}
    def unavailable(self, target, device=0): return None
    def express(self, precision, target): return None
    def build(self, request): return None
    def open(self, path, options): return None
    def describe(self, path): return None
OBJECT = MyBackend()
"""
TASK = """
from dataclasses import dataclass
from adaptrt.specs.tasks import Task
@dataclass(frozen=True)
class Point:
    x: float
class PointTask(Task):
    name = "mine"
    prediction = Point
    def describe(self, prediction): return ""
    def record(self, prediction): return {}
    def read_record(self, record): return None
    def malformed(self, prediction, spec, size=None): return None
OBJECT = PointTask()
"""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("", "", ""),
        ("def build(self, request)", "def build(self, *arguments, **more)", ""),
        ("def express(", "def expres(", r"is not a Backend: it is of type MyBackend, which lacks express\."),
        ("suffixes =", "suffix =", "which lacks suffixes"),
        ("(self, precision, target)", "(self, precision)", r"MyBackend.express must accept the arguments \(precision, target\)\."),
        ("(self, target, device=0)", "(self, target)", r"MyBackend.unavailable must accept the arguments \(target, device\)\."),
        ("(self, path, options)", "(self, path, options, more)", r"MyBackend.open must accept the arguments \(path, options\)\."),
        ('(".mine",)', '".mine"', r"MyBackend.suffixes must be a tuple of strings; got str '.mine'\."),
        ('("cpu",)', '"cpu"', "MyBackend.devices must be a tuple of strings"),
        ("{}", "[]", r"MyBackend.targets must be a dict; got list \[\]\."),
        ('"Mine"', "None", "MyBackend.title must be a string"),
    ],
)  # fmt: skip
def test_a_backend(fake_distribution: Callable[..., Path], before: str, after: str, message: str) -> None:
    source = BACKEND.replace(before, after)
    fake_distribution("adaptrt-mine", {"adaptrt.backends": {"mine": "mine:OBJECT"}}, modules={"mine": source})
    if not message:
        assert BACKENDS.find("mine").title == "Mine"
        return
    with pytest.raises(PluginError, match=message) as caught:
        BACKENDS.find("mine")
    assert "mine:OBJECT of adaptrt-mine" in caught.value.message


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("", "", ""),
        ("def record(self, prediction)", "def record(self)", r"PointTask.record must accept the arguments \(prediction\)\."),
        ("(self, prediction, spec, size=None)", "(self, prediction, spec)", r"malformed must accept the arguments \(prediction, spec, size\)\."),
        ("def record(", "def recrd(", "PointTask implements read_record, but not record"),
        ("def read_record(", "def read_recrd(", ""),  # reading records back is optional
    ],
)  # fmt: skip
def test_a_task(fake_distribution: Callable[..., Path], before: str, after: str, message: str) -> None:
    source = TASK.replace(before, after)
    fake_distribution("adaptrt-mine", {"adaptrt.tasks": {"mine": "mine:OBJECT"}}, modules={"mine": source})
    if not message:
        assert TASKS.find("mine").describe(None) == ""
        return
    with pytest.raises(PluginError, match=message):
        TASKS.find("mine")
