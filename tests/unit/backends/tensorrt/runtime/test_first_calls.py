"""What several threads that load or call at once create only once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest
from patience import HANG

from adaptrt.backends.tensorrt.runtime import engine as engines
from adaptrt.backends.tensorrt.runtime import images
from adaptrt.errors import EngineError
from adaptrt.specs import Dim, ImageTransform, InputSpec, ModelSpec


def test_engines_that_are_loaded_at_once_have_one_logger(monkeypatch):
    """TensorRT keeps the first one: messages to it would never be read, and it would be freed with its engine."""
    made = []

    def make_logger(trt, log):
        time.sleep(0.05)  # long enough for a thread that nothing holds back
        made.append(log)
        return log

    monkeypatch.setattr(engines, "make_logger", make_logger)
    monkeypatch.setattr(engines, "_loggers", {})
    module = ModuleType("tensorrt")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: engines._shared_logger(module), range(4)))
    assert len(made) == 1
    assert all(logger == made[0] for logger, _ in found)


def test_a_message_belongs_to_the_thread_whose_call_failed():
    """Before a thread loads an engine, it forgets what TensorRT said about earlier calls, which must be its own."""
    messages = engines.Messages()
    messages.add("error", "the plan is damaged")
    with ThreadPoolExecutor(1) as other:
        assert other.submit(messages.take).result() == []
        other.submit(messages.add, "error", "another plan is damaged").result()
        assert messages.take() == ["the plan is damaged"]
        assert other.submit(messages.take).result() == ["another plan is damaged"]
    assert messages.take() == []


def test_messages_of_threads_that_are_not_pythons():
    messages = engines.Messages()
    messages._kept.append((-1, "a worker of TensorRT failed"))
    assert messages.take() == ["a worker of TensorRT failed"]


def test_close_waits_for_the_first_call(make_image_bench, monkeypatch):
    """It would free the table of pixel values that the kernel is compared with."""
    bench = make_image_bench()
    runner = bench.open()
    spec = ModelSpec(inputs=(InputSpec.image(32, 48, batch=Dim(1, 2, 8, "batch")),), image=ImageTransform())
    comparing, go_on, closed = (threading.Event() for _ in range(3))
    compare = images.DeviceImages._require_equal

    def waiting(self, form):
        comparing.set()
        assert go_on.wait(HANG)
        compare(self, form)

    def close():
        runner.close()
        closed.set()

    monkeypatch.setattr(images.DeviceImages, "_require_equal", waiting)
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(runner.image_batch, spec, 1)
        assert comparing.wait(HANG)
        end = threads.submit(close)
        early = closed.wait(0.2)
        go_on.set()
        end.result()
        batch = call.result()
    assert not early
    batch.write(0, np.zeros((32, 48, 3), np.uint8))
    batch.fill(1)
    with pytest.raises(EngineError, match="has been closed"):
        runner.start_images(batch)
