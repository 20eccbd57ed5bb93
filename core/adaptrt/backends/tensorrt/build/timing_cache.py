"""Timing caches kept between builds, safe under concurrent builds.

By NVIDIA's documentation, timings are specific to the GPU, the CUDA and TensorRT versions, and builder settings that change how a
layer is implemented (TF32, refitting, ...). So builds share a file only if all of these are the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from adaptrt.backends.tensorrt.device import Device
from adaptrt.store.private_folder import make_private, read_regular


def timing_cache_path(folder: Path, version: str, device: Device, config: Any) -> Path:
    """``8.6.0-sm_90-NVIDIA_H200-1f83d9ab.cache`` in this folder, for a builder configuration whose flags are set."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", device.name)
    settings = (int(config.flags), int(config.get_tactic_sources()), int(config.hardware_compatibility_level))
    key = hashlib.sha256(repr((device.cuda, *settings)).encode()).hexdigest()[:8]
    return folder / f"{version}-{device.sm}-{name}-{key}.cache"


def load_timing_cache(config: Any, path: Path | None) -> bool:
    """Load the timing cache into the builder; an empty or unreadable file counts as an empty cache. False: caching is off."""
    if path is None:
        return False
    known = read_regular(path) or b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)
    return True


def save_timing_cache(config: Any, path: Path | None) -> int:
    """Merge the timings of this build into the file; returns its new size in bytes."""
    if path is None:
        return 0
    cache = config.get_timing_cache()
    make_private(path.parent)
    with FileLock(f"{path}.lock"):
        for left in path.parent.glob(f".{path.name}.*"):  # left by a killed run
            left.unlink(missing_ok=True)
        known = read_regular(path)
        if known is not None:  # other builds may have written since
            other = config.create_timing_cache(known)
            if other is not None:
                cache.combine(other, False)
        data = bytes(memoryview(cache.serialize()))
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    return len(data)
