"""Conversions in several threads: what they change belongs to the whole process."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from forked import forks, succeeds_in_fork
from patience import HANG

from adaptrt import Report
from adaptrt.export import device_guard
from adaptrt.pipeline import reference
from adaptrt.pipeline.batches import _Buffers
from adaptrt.pipeline.convert import convert
from adaptrt.pipeline.observer import Observer
from adaptrt.process_wide import process_wide
from adaptrt.request import Request


def test_conversions_take_turns(tiny: str) -> None:
    """The reference of one must not run while another has patched the framework."""
    patched, go_on, loading = (threading.Event() for _ in range(3))
    reports: list[Report] = []

    class First(Observer):
        def stage_started(self, name: str) -> None:
            if name == "export":
                patched.set()
                assert go_on.wait(HANG)

    class Second(Observer):
        def stage_started(self, name: str) -> None:
            loading.set()

    def run(name: str, observer: Observer) -> None:
        reports.append(convert(Request("detector", tiny, output=Path(name), verify="none"), observer))

    threads = [threading.Thread(target=run, args=(name, seen)) for name, seen in (("a", First()), ("b", Second()))]
    threads[0].start()
    assert patched.wait(HANG)
    threads[1].start()
    overlapped = loading.wait(0.3)  # long enough for a thread that nothing holds back
    go_on.set()
    for thread in threads:
        thread.join(HANG)
    assert not overlapped
    assert [report.status for report in reports] == ["passed", "passed"]


def test_a_source_model_is_not_loaded_during_a_conversion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Adapters change the search path for modules, and a framework that is patched is not what the file is compared with."""
    opened = threading.Event()
    monkeypatch.setattr(reference, "AdapterSession", lambda *_: opened.set() or pytest.skip("not needed"))
    monkeypatch.setattr(reference, "is_selected", lambda _: False)

    def load() -> None:
        origin = reference.Origin("tiny", "detector")
        with pytest.raises(pytest.skip.Exception):
            reference.load_network(tmp_path, reference.ModelSpec(inputs=()), origin)

    thread = threading.Thread(target=load)
    with process_wide():
        thread.start()
        overlapped = opened.wait(0.3)
    thread.join(HANG)
    assert opened.is_set()
    assert not overlapped


@forks
def test_a_forked_process_does_not_wait_for_threads_of_its_parent() -> None:
    def converts() -> bool:
        with process_wide():
            return True

    assert succeeds_in_fork(converts, [process_wide()])


@forks
def test_a_forked_process_calls_a_model_of_its_parent() -> None:
    """Threads of the parent call the model at the fork; on a CPU, it works in both."""
    buffers = _Buffers(np.empty)
    buffers.give(np.empty((2, 3), np.float32))
    assert succeeds_in_fork(lambda: buffers.take((2, 3), np.float32).shape == (2, 3), [buffers._lock])


def test_the_device_guard_of_torch_belongs_to_a_thread_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch 2.11 uses memory of the first thread that exported a model, also when that has ended."""
    import torch

    threads: list[threading.Thread] = []
    monkeypatch.setattr(device_guard._keeper, "thread", None)
    monkeypatch.setattr(torch._C, device_guard._SET, lambda: threads.append(threading.current_thread()), raising=False)
    for _ in range(2):
        thread = threading.Thread(target=device_guard.keep_device_guard)
        thread.start()
        thread.join(HANG)
    assert [one.is_alive() for one in threads] == [True]
    assert threads[0].daemon


def test_models_are_exported_in_threads_that_end(tiny: str) -> None:
    def run(name: str) -> None:
        request = Request("detector", tiny, output=Path(name), verify="none", exporter="dynamo")
        assert convert(request).status == "passed"

    for name in ("a", "b"):
        thread = threading.Thread(target=run, args=(name,))
        thread.start()
        thread.join(HANG)
        assert Path(name, "detector.onnx").is_file()
