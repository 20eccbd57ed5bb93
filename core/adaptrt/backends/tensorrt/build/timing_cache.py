"""Timing caches kept between builds, safe under concurrent builds.

By NVIDIA's documentation, timings are specific to the GPU, the CUDA and TensorRT versions, and builder settings that change how a
layer is implemented (TF32, refitting, ...). So builds share a file only if all of these are the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from adaptrt.backends.tensorrt.device import Device
from adaptrt.store.private_folder import make_private, read_regular
from adaptrt.store.workspace import write_whole

Watch = Callable[[Callable[[], Any]], tuple[Any, list[str]]]
"""Calls, and gives the result and the errors that were logged."""


def unwatched(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    return call(), []


def timing_cache_path(folder: Path, version: str, device: Device, config: Any) -> Path:
    """``8.6.0-sm_90-NVIDIA_H200-1f83d9ab.cache`` in this folder, for a builder configuration whose flags are set."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", device.name)
    settings = (int(config.flags), int(config.get_tactic_sources()), int(config.hardware_compatibility_level))
    key = hashlib.sha256(repr((device.cuda, *settings)).encode()).hexdigest()[:8]
    return folder / f"{version}-{device.sm}-{name}-{key}.cache"


def load_timing_cache(config: Any, path: Path | None, watch: Watch = unwatched) -> bool:
    """Attach the timings of earlier builds, or an empty cache. ``False``: caching is off, or the file was unreadable."""
    if path is None:
        return False
    known = read_regular(path)
    cache = _readable(config, known, watch) if known else None
    loaded = cache is not None and config.set_timing_cache(cache, False)
    if not loaded:
        config.set_timing_cache(config.create_timing_cache(b""), False)
    return loaded or not known


def save_timing_cache(config: Any, path: Path | None, watch: Watch = unwatched) -> int:
    """Merge the timings of this build into the file; returns its new size in bytes, 0 if it stays as it is."""
    if path is None:
        return 0
    cache = config.get_timing_cache()
    make_private(path.parent)
    with FileLock(f"{path}.lock"):
        for left in path.parent.glob(f".{path.name}.*"):  # left by a killed run
            left.unlink(missing_ok=True)
        known = read_regular(path)
        if known:  # other builds may have written since
            other = _readable(config, known, watch)
            if other is not None:
                watch(lambda: cache.combine(other, False))
        data = bytes(memoryview(cache.serialize()))
        if _readable(config, data, watch) is None:  # TensorRT 8.6 writes some that it cannot read
            return 0
        write_whole(path, data)
    return len(data)


def _readable(config: Any, data: bytes, watch: Watch) -> Any:
    """The cache, or ``None``. From what it cannot read, TensorRT 8.6 makes a cache that must not be attached, and logs it."""
    cache, errors = watch(lambda: config.create_timing_cache(data))
    return None if errors else cache
