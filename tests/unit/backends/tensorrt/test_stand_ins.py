"""The stand-ins themselves: they refuse what a version does not have."""

from __future__ import annotations

from typing import Any

import pytest


def test_absent_names_fail(stand_in_of: Any) -> None:
    old, new = stand_in_of("8.6.0"), stand_in_of("11.4.0")
    assert old.BuilderFlag.FP16 is not None
    with pytest.raises(AttributeError):
        _ = new.BuilderFlag.FP16
    with pytest.raises(AttributeError):
        _ = old.IProgressMonitor
    with pytest.raises(AttributeError, match="has no 'max_batch_size'"):
        _ = new.Builder(new.Logger()).max_batch_size


def test_wrong_arguments_fail(stand_in: Any) -> None:
    config = stand_in.Builder(stand_in.Logger()).create_builder_config()
    config.set_flag(stand_in.BuilderFlag.TF32)
    with pytest.raises(TypeError, match="set_flag"):
        config.set_flag()
    with pytest.raises(TypeError, match="set_memory_pool_limit"):
        config.set_memory_pool_limit(stand_in.MemoryPoolType.WORKSPACE, size=1)


def test_properties_that_cannot_be_set(stand_in: Any) -> None:
    config = stand_in.Builder(stand_in.Logger()).create_builder_config()
    config.builder_optimization_level = 2
    with pytest.raises(AttributeError, match="cannot be set"):
        config.num_optimization_profiles = 2
    with pytest.raises(AttributeError, match="cannot be set"):
        config.precision = "fp16"
