"""Whether an engine can be built here, and what is said if not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adaptrt.backends.tensorrt import availability
from adaptrt.backends.tensorrt.availability import engine_unavailable_reason
from adaptrt.backends.tensorrt.generations import generation_of
from adaptrt.errors import DependencyError, EngineError


@pytest.fixture
def set_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_here(version: str | None, error: Exception | None = None) -> None:
        def identify(index: int) -> tuple[str, str]:
            if error is not None:
                raise error
            return "NVIDIA Test", "9.0"

        monkeypatch.setattr(availability, "can_build", lambda product: version is not None)
        monkeypatch.setattr(availability, "installed_version", lambda product: version)
        monkeypatch.setattr(availability, "identify_device", identify)

    return set_here


def test_where_it_can(set_here: Callable[..., None]) -> None:
    set_here("8.6.0")
    assert engine_unavailable_reason(generation_of(8)) is None


def test_why_not(set_here: Callable[..., None]) -> None:
    set_here(None)
    assert engine_unavailable_reason(generation_of(8)) == "TensorRT is not installed"
    set_here("10.16.1")
    assert engine_unavailable_reason(generation_of(8)) == "the graph is made for TensorRT 8, but 10.16.1 is installed"
    for code in ("cudaErrorNoDevice", "cudaErrorInsufficientDriver"):
        set_here("10.16.1", EngineError(f"CUDA: {code} (device 0)."))
        assert engine_unavailable_reason(generation_of(10)) == "no NVIDIA GPU is visible"
    set_here("10.16.1", DependencyError("cuda-python is not installed."))
    assert engine_unavailable_reason(generation_of(10)) == "cuda-python is not installed"


def test_a_device_that_was_asked_for_and_is_not_there(set_here: Callable[..., None]) -> None:
    set_here("10.16.1", EngineError("CUDA: cudaErrorInvalidDevice (device 7)."))
    with pytest.raises(EngineError, match="device 7"):
        engine_unavailable_reason(generation_of(10), 7)
