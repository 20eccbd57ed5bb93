"""Sensors of the GPU during a run, and what the CPU was measured to do."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO

import numpy as np

from adaptrt.pipeline.bench.records import DRIFT, Peak, Reading

_SENSORS = (
    ("clocks.sm", "SM clock", "MHz"),
    ("clocks.mem", "memory clock", "MHz"),
    ("temperature.gpu", "temperature", "C"),
    ("power.draw", "power", "W"),
)
_INTERVAL = 250  # milliseconds
_SIDE, _COPIED, _REPEATS = 1024, 1 << 26, 3  # of the matrix product, bytes of the copy, and how often


class GpuSensors:
    """Samples the GPU sensors with nvidia-smi until the context exits; ``note`` has the reason if nothing was read."""

    def __init__(self, index: int = 0) -> None:
        self.note = ""
        self._device = _visible(index)
        self._file: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> GpuSensors:
        tool = shutil.which("nvidia-smi")
        if tool is None:
            self.note = "GPU clocks, temperature and power were not read: nvidia-smi not found"
            return self
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")
        fields = ",".join(name for name, _, _ in _SENSORS)
        command = [
            tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits", f"--id={self._device}", f"--loop-ms={_INTERVAL}",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=self._file, stderr=subprocess.DEVNULL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def readings(self) -> list[Reading]:
        """The readings after the context ended; a sensor that the GPU does not have is skipped."""
        if self._file is None:
            return []
        self._file.seek(0)
        text = self._file.read()
        self._file.close()
        self._file = None
        found = parse_readings(text)
        if not found:
            self.note = "GPU clocks, temperature and power were not read: nvidia-smi printed no values"
        return found


def parse_readings(text: str) -> list[Reading]:
    """The lines of ``nvidia-smi --query-gpu``, one for each sample."""
    samples = [line.split(",") for line in text.splitlines() if line.count(",") == len(_SENSORS) - 1]
    readings = []
    for column, (_, name, unit) in enumerate(_SENSORS):
        values = [value for sample in samples if (value := _number(sample[column])) is not None]
        if values:
            third = max(1, len(values) // 3)
            first, last = statistics.median(values[:third]), statistics.median(values[-third:])
            readings.append(Reading(name, unit, min(values), statistics.median(values), max(values), first, last))
    return readings


def sensor_warnings(readings: list[Reading]) -> list[str]:
    """A clock that changed during the run: the times before and after cannot be compared."""
    return [
        f"the {one.name} changed from {one.first:g} to {one.last:g} {one.unit} during the run"
        for one in readings
        if "clock" in one.name and one.first and abs(one.last / one.first - 1) > DRIFT
    ]


def measure_cpu_peak() -> Peak:
    """Operations per second of a float32 matrix product, and bytes per second of copies on all cores: the best of some."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, _SIDE, _SIDE), dtype=np.float32)
    product = min(_seconds(lambda: np.matmul(a, b)) for _ in range(_REPEATS))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    source, target = np.ones(_COPIED, np.uint8), np.zeros(_COPIED, np.uint8)
    parts = list(zip(np.array_split(source, cores), np.array_split(target, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:
        copy = min(
            _seconds(lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))) for _ in range(_REPEATS)
        )
    return Peak(
        2.0 * _SIDE**3 / product, 2.0 * _COPIED / copy, "measured in this run: a matrix product and a copy with NumPy"
    )


def _seconds(work: object) -> float:
    assert callable(work)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # [N/A], [Not Supported]
        return None


def _visible(index: int) -> str:
    """The name for nvidia-smi, which does not read CUDA_VISIBLE_DEVICES."""
    visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    return visible[index] if index < len(visible) else str(index)
