"""Timing caches kept between builds: merged, separate for other settings, and never read or written where they are unreadable."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adaptrt.backends.tensorrt.build.timing_cache import load_timing_cache, save_timing_cache, timing_cache_path
from adaptrt.backends.tensorrt.device import Device

DEVICE = Device(0, "NVIDIA H200", "9.0", 1, 1, "12.9", None)


def file(folder: Path, content: bytes) -> Path:
    path = folder / "content"
    path.write_bytes(content)
    return path


class _Cache:
    """A timing cache as TensorRT has them, with measured kernels as letters."""

    def __init__(self, data: bytes) -> None:
        self.letters = set(data.decode())

    def combine(self, other: _Cache, ignore_mismatch: bool) -> bool:
        self.letters |= other.letters
        return True

    def serialize(self) -> bytes:
        return "".join(sorted(self.letters)).encode()


def _config(measured: str, *, valid: bool = True) -> Any:
    config = SimpleNamespace(cache=None, flags=0, hardware_compatibility_level=0, get_tactic_sources=lambda: 24)

    def set_timing_cache(cache: Any, ignore_mismatch: bool) -> bool:
        config.cache = cache
        return valid or not cache.letters

    def get_timing_cache() -> Any:
        config.cache.letters |= set(measured)
        return config.cache

    config.create_timing_cache = _Cache
    config.set_timing_cache, config.get_timing_cache = set_timing_cache, get_timing_cache
    return config


def test_timing_caches_grow_and_merge(tmp_path: Path) -> None:
    first, second = _config("ab"), _config("bc")
    path = timing_cache_path(tmp_path / "timing", "8.6.0", DEVICE, first)
    assert load_timing_cache(first, path)
    assert load_timing_cache(second, path)
    assert save_timing_cache(first, path) == 2
    assert save_timing_cache(second, path) == 3  # what the first wrote meanwhile is not lost
    assert path.read_bytes() == b"abc"
    third = _config("")
    load_timing_cache(third, path)
    assert third.cache.letters == set("abc")


def test_builds_with_other_settings_have_another_timing_cache(tmp_path: Path) -> None:
    """Timings of a build without TF32, or with cuBLAS, do not hold for one without."""

    def name(device: Device = DEVICE, flags: int = 0, sources: int = 24) -> str:
        config = _config("")
        config.flags, config.get_tactic_sources = flags, lambda: sources
        return timing_cache_path(tmp_path, "8.6.0", device, config).name

    assert name() == name()
    assert re.fullmatch(r"8\.6\.0-sm_90-NVIDIA_H200-[0-9a-f]{8}\.cache", name())
    other_cuda = dataclasses.replace(DEVICE, cuda="11.8")
    assert len({name(), name(flags=0b1000_0000), name(sources=25), name(other_cuda)}) == 4


def test_a_timing_cache_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.cache"
    path.write_bytes(b"zz")
    config = _config("a", valid=False)
    load_timing_cache(config, path)
    assert config.cache.letters == set()


def _watch(call: Any) -> tuple[Any, list[str]]:
    """What a call gives and logs: caches with the letter x cannot be read."""
    made = call()
    return made, ["magic tag"] if isinstance(made, _Cache) and "x" in made.letters else []


def test_a_timing_cache_that_cannot_be_read_is_not_attached_and_replaced(tmp_path: Path) -> None:
    path = file(tmp_path, b"xyz")
    config = _config("ab")
    assert not load_timing_cache(config, path, _watch)
    assert config.cache.letters == set()
    assert save_timing_cache(config, path, _watch) == 2
    assert path.read_bytes() == b"ab"


def test_a_timing_cache_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    path = file(tmp_path, b"ab")
    config = _config("x")
    assert load_timing_cache(config, path, _watch)
    assert save_timing_cache(config, path, _watch) == 0
    assert path.read_bytes() == b"ab"


def test_no_timing_cache_is_wanted() -> None:
    config = _config("a")
    assert not load_timing_cache(config, None)
    assert save_timing_cache(config, None) == 0
    assert config.cache is None


def test_a_timing_cache_that_is_a_link(tmp_path: Path) -> None:
    secret = file(tmp_path, b"zz")
    path = tmp_path / "timing.cache"
    path.symlink_to(secret)
    config = _config("a")
    load_timing_cache(config, path)
    assert config.cache.letters == set()
    save_timing_cache(config, path)
    assert secret.read_bytes() == b"zz"
    assert path.read_bytes() == b"a"
