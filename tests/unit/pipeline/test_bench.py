"""Measuring in turns: percentiles, drift, comparison by turn, and the sensors of the GPU."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patience import wait_until

from adaptrt.pipeline.bench import turns as bench_turns
from adaptrt.pipeline.bench.forms import _device_of_source
from adaptrt.pipeline.bench.hardware import GpuSensors, parse_readings, sensor_warnings
from adaptrt.pipeline.bench.records import Measured, Row, compared
from adaptrt.pipeline.bench.request import BenchRequest
from adaptrt.pipeline.bench.turns import Times, in_turns
from adaptrt.specs.backends import OpenOptions


@pytest.mark.parametrize(
    ("asked", "devices", "sees", "expected"),
    [
        (None, ("cuda",), True, "cuda"),
        ("cuda:1", ("cuda",), True, "cuda:1"),
        (None, ("cuda",), False, "cpu"),
        (None, ("cpu", "cuda"), True, "cpu"),
        ("cuda:1", ("cpu", "cuda"), True, "cuda:1"),
        ("cpu", ("cpu", "cuda"), True, "cpu"),
        ("cuda:1", ("cpu",), True, "cpu"),
    ],
)
def test_the_source_model_runs_where_the_file_does(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, devices: tuple[str, ...], sees: bool, expected: str
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 if sees else 0)
    request = BenchRequest(files=("eager", "best.engine"), options=OpenOptions(device=asked))
    backend: Any = SimpleNamespace(devices=devices)
    device, warnings = _device_of_source(request, backend)
    assert device == expected
    assert warnings == (() if sees else ("the model runs on the CPU: torch does not see the GPU",))


def measured(*turns: float) -> Measured:
    return Measured(turns[0], turns[0], turns[0], len(turns), 1.0, turns)


def test_percentiles_and_throughput() -> None:
    times = Times([[0.001] * 50, [0.003] * 50], [0.1, 0.1])
    found = times.measured(images=8)
    assert (found.p50, found.p90, found.p99) == pytest.approx((2, 3, 3))
    assert found.calls == 100
    assert found.per_second == pytest.approx(8 * 100 / 0.2)
    assert found.turns == pytest.approx((1, 3))


@pytest.mark.parametrize(
    ("turns", "drift", "drifts"),
    [
        ((1.0, 1.0, 1.1, 1.2, 1.2, 1.2), 0.2, True),
        ((1.2, 1.2, 1.1, 1.0, 1.0, 1.0), -1 / 6, True),
        ((1.0, 1.3, 1.1, 1.2, 1.2, 1.2), 1.2 / 1.15 - 1, False),
        ((1.0, 1.0, 1.0, 1.01, 1.02, 1.02), 0.02, False),
        ((1.0, 2.0), 0.0, False),
    ],
    ids=["slower", "faster", "thirds overlap", "small", "few turns"],
)
def test_drift(turns: tuple[float, ...], drift: float, drifts: bool) -> None:
    found = measured(*turns)
    assert found.drift == pytest.approx(drift, abs=1e-9)
    assert found.drifts is drifts


def test_a_machine_that_becomes_slower_does_not_change_the_comparison() -> None:
    a, b = measured(1.0, 2.0, 4.0, 8.0), measured(1.1, 2.2, 4.4, 8.8)
    found = compared("file alone", Row("a", 1, 1, a), Row("b", 1, 1, b), a, b)
    assert found.slower == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((1.1, 1.1))


def test_calls_alternate_and_every_thread_calls() -> None:
    order: list[str] = []
    threads: dict[str, Counter[int]] = {"a": Counter(), "b": Counter()}

    def call(name: str) -> None:
        order.append(name)
        threads[name][threading.get_ident()] += 1
        time.sleep(0.002)

    times = in_turns({name: lambda name=name: call(name) for name in "ab"}, turns=2, seconds=0.004, threads=3)  # type: ignore[misc]
    assert {len(turn) for one in times.values() for turn in one.turns} == {3}
    assert all(len(one) == 4 for one in threads.values())  # three, and that of the warm-up
    assert "".join(order[-12:]) == "bbbaaaaaabbb"


def test_calls_after_those_of_another_file_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of ONNX Runtime keep a core busy after a run: an eager model takes longer right after it."""
    monkeypatch.setattr(bench_turns, "_SETTLED", 0.0)
    order: list[tuple[str, str]] = []

    def call(key: tuple[str, str]) -> int:
        order.append(key)
        time.sleep(0.002)
        return len(order)

    keys = [("a", "file"), ("a", "call"), ("b", "file")]
    times = in_turns(
        {key: lambda key=key: call(key) for key in keys},  # type: ignore[misc]
        turns=2, seconds=0.002, runs_in=lambda key: key[0],
    )  # fmt: skip
    timed = {number for one in times.values() for number in one.results}
    untimed = [order[number - 1] for number in range(10, len(order) + 1) if number not in timed]
    assert len(timed) == 6
    assert untimed == [("a", "call"), ("b", "file")]  # b, then a twice; the other turn begins with a


SAMPLES = "1980, 2619, 40, 300.1\n1980, 2619, 50, [N/A]\n1200, 2619, 70, 310.5\nerror\n"


def test_readings_of_nvidia_smi() -> None:
    clock, memory, temperature, power = parse_readings(SAMPLES)
    assert (clock.low, clock.median, clock.high, clock.first, clock.last) == (1200, 1980, 1980, 1980, 1200)
    assert (memory.unit, temperature.high, power.high) == ("MHz", 70, 310.5)
    assert sensor_warnings([clock, memory, temperature]) == [
        "the SM clock changed from 1980 to 1200 MHz during the run"
    ]
    assert parse_readings("") == []


def test_sensors_are_read_while_the_context_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, called = tmp_path / "nvidia-smi", tmp_path / "called"
    tool.write_text(f'#!/bin/sh\necho "1980, 2619, 40, 300.1"\necho "$@" > {called}\nexec sleep 60\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    with GpuSensors(1) as sensors:
        wait_until(lambda: called.is_file() and called.read_text().endswith("\n"), "the call of nvidia-smi")
    assert "--id=3" in called.read_text()
    assert [one.median for one in sensors.readings()] == [1980, 2619, 40, 300.1]


def test_without_nvidia_smi_there_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with GpuSensors() as sensors:
        pass
    assert sensors.readings() == []
    assert "nvidia-smi not found" in sensors.note
