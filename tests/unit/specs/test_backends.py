"""Backends are found by name, by the words of --to, and by the suffix of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adaptrt.errors import PluginError, UsageError
from adaptrt.specs import precision_named
from adaptrt.specs.backends import BACKENDS, Backend, backend_named, backend_of, model_suffixes, target_named
from adaptrt.specs.registry import Registry


class Other:
    """A backend whose suffix ends like another's."""

    name = "other"
    title = "Other"
    suffixes: tuple[str, ...] = (".other.engine",)
    devices = ("cpu",)
    targets: dict[str, Any] = {}  # noqa: RUF012

    def unavailable(self, target: Any, device: int = 0) -> None:
        return None

    express = build = open = describe = unavailable


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Other:
    found, own = Other(), BACKENDS.names()
    monkeypatch.setattr(Registry, "names", lambda self: [*own, "other"] if self is BACKENDS else [])
    monkeypatch.setitem(BACKENDS._found, "other", found)
    return found


def test_core_brings_two() -> None:
    assert {"onnxruntime", "tensorrt"} <= set(BACKENDS.names())
    assert all(isinstance(backend, Backend) for backend in BACKENDS.all())


@pytest.mark.parametrize(
    ("file", "name"),
    [("a/best.onnx", "onnxruntime"), ("best.ENGINE", "tensorrt"), ("b.plan", "tensorrt"), ("b.trt", "tensorrt")],
)
def test_the_suffix_decides(file: str, name: str) -> None:
    backend = backend_of(Path(file))
    assert backend is not None
    assert backend.name == name


def test_other_files_have_none() -> None:
    assert backend_of(Path("best.pt")) is None
    assert backend_of(Path("engine")) is None


def test_the_longest_suffix_decides(other: Other) -> None:
    assert backend_of(Path("best.other.engine")) is other
    assert model_suffixes()[0] == ".onnx"
    assert ".other.engine" in model_suffixes()


def test_two_that_claim_a_suffix_are_an_error(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    other.suffixes = (".engine",)
    monkeypatch.setattr(Registry, "distribution", lambda self, name: name)
    with pytest.raises(PluginError, match=r"\.engine are claimed by tensorrt and by other|other and by tensorrt"):
        backend_of(Path("best.engine"))


@pytest.mark.parametrize(
    ("word", "name", "suffix"),
    [
        ("onnx", "onnxruntime", ".onnx"),
        ("onnxruntime", "onnxruntime", ".onnx"),
        ("engine", "tensorrt", ".engine"),
        ("tensorrt", "tensorrt", ".engine"),
        ("plan", "tensorrt", ".plan"),
        ("trt", "tensorrt", ".trt"),
    ],
)
def test_words_of_to(word: str, name: str, suffix: str) -> None:
    backend, found = backend_named(word)
    assert (backend.name, found) == (name, suffix)


def test_the_first_part_of_a_suffix_is_a_word(other: Other) -> None:
    assert backend_named("other") == (other, ".other.engine")
    assert backend_named("other.engine") == (other, ".other.engine")


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(UsageError, match="--to 'engin'") as caught:
        backend_named("engin")
    assert "Did you mean 'engine'" in (caught.value.hint or "")


def test_targets_by_name() -> None:
    assert target_named("10").title == "TensorRT 10"
    with pytest.raises(UsageError, match="Unknown target '9'") as caught:
        target_named("9")
    assert "10, 11, 8" in (caught.value.hint or "")


def test_how_tensorrt_computes() -> None:
    tensorrt = BACKENDS.find("tensorrt")

    def graph(precision: str, target: str) -> bool | str:
        found = tensorrt.express(precision_named(precision), target_named(target))
        return found.unsupported or found.graph

    assert [graph(name, "8") for name in ("fp32", "tf32", "fp16", "int8")] == [False, False, False, True]
    assert graph("bf16", "8") == "TensorRT 8 does not support precision bf16, which requires TensorRT 10 or later"
    for target in ("10", "11"):
        assert [graph(name, target) for name in ("fp32", "tf32", "fp16", "bf16", "int8")] == [
            False,
            False,
            True,
            True,
            True,
        ]
