"""Importing OpenVINO without its telemetry."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("adaptrt_openvino", reason="the extension is not installed (pip install adaptrt-openvino)")

from adaptrt_openvino import runtime


class Slow(dict[str, Any]):
    """Modules that other threads may change between a look and what follows from it."""

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        time.sleep(0.05)
        return found


def test_threads_that_load_the_first_file_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = Slow()
    monkeypatch.setattr(runtime, "sys", SimpleNamespace(modules=modules))

    def load(_: int) -> bool:
        with runtime._without_telemetry():
            time.sleep(0.05)  # the import
            return modules.get(runtime._TELEMETRY, modules) is None

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(load, range(4)))
    assert not modules
