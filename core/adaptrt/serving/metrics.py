"""Counters of a server in the text format of Prometheus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptrt.pipeline.batches import Timing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


class Metrics:
    """Counts from the start of the server. ``info``: labels that describe it."""

    def __init__(self, info: Mapping[str, str]) -> None:
        self._info = dict(info)
        self._lock = threading.Lock()
        self._requests: Counter[int] = Counter()
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0
        self._images = self._batches = 0
        self._steps = {"preprocess": 0.0, "run": 0.0, "postprocess": 0.0}

    def answered(self, status: int, seconds: float | None = None) -> None:
        """A response was sent; ``seconds``: of a request for a prediction, from its first byte."""
        with self._lock:
            self._requests[status] += 1
            if seconds is not None:
                self._seconds += seconds
                self._buckets[next((bound for bound in BUCKETS if seconds <= bound), float("inf"))] += 1

    def ran(self, images: int, timing: Timing) -> None:
        """A batch of images ran."""
        with self._lock:
            self._images += images
            self._batches += 1
            for name, seconds in vars(timing).items():
                self._steps[name] += seconds

    def text(self, *, waiting: int) -> str:
        """``waiting``: images that no batch has yet."""
        with self._lock:
            return "\n".join([*self._lines(waiting), ""])

    def _lines(self, waiting: int) -> Iterator[str]:
        yield from _described("adaptrt_info", "gauge", "The model and the version of adaptrt.")
        yield f"adaptrt_info{{{','.join(f'{name}={_quoted(value)}' for name, value in self._info.items())}}} 1"
        yield from _described("adaptrt_requests_total", "counter", "Responses by HTTP status.")
        for status, count in sorted(self._requests.items()):
            yield f'adaptrt_requests_total{{status="{status}"}} {count}'
        yield from _described("adaptrt_predict_seconds", "histogram", "Duration of requests for a prediction.")
        below = 0
        for bound in BUCKETS:
            below += self._buckets[bound]
            yield f'adaptrt_predict_seconds_bucket{{le="{bound:g}"}} {below}'
        total = sum(self._buckets.values())
        yield f'adaptrt_predict_seconds_bucket{{le="+Inf"}} {total}'
        yield f"adaptrt_predict_seconds_sum {self._seconds!r}"
        yield f"adaptrt_predict_seconds_count {total}"
        yield from _described("adaptrt_images_total", "counter", "Images that the model ran on.")
        yield f"adaptrt_images_total {self._images}"
        yield from _described("adaptrt_batches_total", "counter", "Calls of the model.")
        yield f"adaptrt_batches_total {self._batches}"
        yield from _described("adaptrt_step_seconds_total", "counter", "Time of the steps of these calls.")
        for name, seconds in self._steps.items():
            yield f'adaptrt_step_seconds_total{{step="{name}"}} {seconds!r}'
        yield from _described("adaptrt_images_waiting", "gauge", "Images that wait for the model.")
        yield f"adaptrt_images_waiting {waiting}"


def _described(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
