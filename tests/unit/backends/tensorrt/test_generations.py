"""Generations of TensorRT and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from adaptrt.backends.tensorrt.generations import (
    NEWEST,
    default_target,
    generation_of,
    import_tensorrt,
    require_supported,
)
from adaptrt.errors import DependencyError, UsageError
from adaptrt.specs import BuildOptions


@pytest.mark.parametrize(("version", "generation"), [("8.6.0", 8), ("8.6.1", 8), ("10.16.1.11", 10), ("11.4.0", 11)])
def test_generations(version: str, generation: int) -> None:
    assert generation_of(version).generation == generation


@pytest.mark.parametrize("version", ["7.2.3", "8.5.3", "9.1", "12.0", "nonsense"])
def test_versions_that_are_not_known(version: str) -> None:
    with pytest.raises(DependencyError) as caught:
        generation_of(version)
    assert "8.6, 10 and 11" in str(caught.value.hint)


def test_features_are_those_of_the_surface(surfaces: dict[str, dict[str, Any]]) -> None:
    for version, surface in surfaces.items():
        features = generation_of(version)
        flags = surface["BuilderFlag"]["members"]
        assert features.strip_plan == ("STRIP_PLAN" in flags)
        assert features.progress == ("IProgressMonitor" in surface)
        assert features.same_cc == ("SAME_COMPUTE_CAPABILITY" in surface["HardwareCompatibilityLevel"]["members"])
        assert features.bf16 == ("BF16" in surface["DataType"]["members"])
        assert set(features.tactic_sources) == set(surface["TacticSource"]["members"])
        creation = surface["NetworkDefinitionCreationFlag"]["members"]
        assert features.strongly_typed == ("STRONGLY_TYPED" in creation)
        if features.sharing_preview:
            assert "PROFILE_SHARING_0806" in surface["PreviewFeature"]["members"]
        if not features.strongly_typed:
            assert {"FP16", "INT8"} <= set(flags)


def test_what_is_there_is_not_refused() -> None:
    everything = BuildOptions(strip_weights=True, hardware_compatible="same-cc", refittable=True)
    for version in ("10.16.1", "11.4.0"):
        require_supported(everything, "bf16", version)
    require_supported(BuildOptions(hardware_compatible="ampere+", refittable=True), "fp16", "8.6.0")


def test_what_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(
        UsageError, match=r"TensorRT 8\.6\.0 does not support strip-weights: --strip-weights requires TensorRT 10"
    ):
        require_supported(BuildOptions(strip_weights=True), "fp32", "8.6.0")


def test_tactic_sources_are_those_of_the_version() -> None:
    require_supported(BuildOptions(tactic_sources=("CUBLAS", "jit_convolutions")), "fp32", "8.6.0")
    require_supported(BuildOptions(tactic_sources=()), "fp32", "11")
    with pytest.raises(UsageError, match=r"TensorRT 11 has no tactic source 'cublas'") as caught:
        require_supported(BuildOptions(tactic_sources=("cublas",)), "fp32", "11")
    assert "JIT_CONVOLUTIONS" in (caught.value.hint or "")
    with pytest.raises(UsageError, match=r"no tactic source 'CUDLAS'") as caught:
        require_supported(BuildOptions(tactic_sources=("CUDLAS",)), "fp32", "10.16.1")
    assert "Did you mean 'CUBLAS'" in (caught.value.hint or "")


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        DependencyError, match="TensorRT is not installed; building an engine requires the full library"
    ):
        import_tensorrt(builder=True)
    with pytest.raises(DependencyError, match="pip install 'adaptrt\\[trt\\]'"):
        import_tensorrt()


def test_the_default_target_is_the_newest_where_none_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptrt.backends.tensorrt.generations.installed_version", lambda: None)
    assert default_target().generation == NEWEST
    monkeypatch.setattr("adaptrt.backends.tensorrt.generations.installed_version", lambda: "8.6.1")
    assert default_target().generation == 8


def test_a_tensorrt_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "tensorrt" else None)

    def fail(name: str) -> None:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(DependencyError, match=r"cannot be imported: tensorrt: libcudart\.so\.12"):
        import_tensorrt()
