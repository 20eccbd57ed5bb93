"""The time of one run of configurations that were found, where a backend can build and run them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.backends.choice import target_for, target_of, wants_reduced_graph
from adaptrt.pipeline.artifacts import Artifact, open_artifact
from adaptrt.pipeline.verification.batching import fill_batch
from adaptrt.specs import ModelSpec, precision_named

if TYPE_CHECKING:
    from adaptrt.pipeline.job import Job
    from adaptrt.quantization import Calibrated
    from adaptrt.specs.tuning import PointRecord

_WARM, _RUNS = 5, 30


@dataclass(frozen=True)
class Configuration:
    """A measured point, with its layers in int8 and the patterns of what stays float32."""

    point: PointRecord
    layers: Collection[str]
    keep_fp32: tuple[str, ...]


def measure_latencies(
    job: Job,
    spec: ModelSpec,
    calibrated: Calibrated,
    sample: Mapping[str, Any],
    configurations: Sequence[Configuration],
) -> None:
    """Build each with the first backend that can, and time it on host arrays at the opt batch; a note if none can.

    ``sample``: one image, preprocessed.
    """
    target = target_of(job.request)
    builders = [one for one in job.chosen if one.builds]
    reasons = [
        f"{one.backend.title}: {reason}"
        for one in builders
        if (reason := one.backend.unavailable(target_for(one.backend, target), job.request.build.device))
    ]
    if len(reasons) == len(builders):
        job.report.notes.append(f"latency was not measured ({'; '.join(reasons) or 'no backend builds here'})")
        return
    backend = next(
        one.backend
        for one in builders
        if not one.backend.unavailable(target_for(one.backend, target), job.request.build.device)
    )
    inputs = fill_batch([sample], spec.inputs[0].dims[0].opt)
    for index, one in enumerate(configurations):
        with job.timed("build") as stage:
            folder = job.workdir / f"latency.{index}"
            folder.mkdir()
            path = _built(job, spec, calibrated, one, folder, backend)
            precision = precision_named(one.point.precision)
            runner = open_artifact(Artifact(name="timed", path=path, precision=precision, backend=backend), job.request)
            try:
                one.point.milliseconds = _median(runner, inputs)
            finally:
                runner.close()
            stage.note = f"{one.point.title}: {one.point.milliseconds:.3f} ms"


def _built(job: Job, spec: ModelSpec, calibrated: Calibrated, one: Configuration, folder: Path, backend: Any) -> Path:
    from adaptrt.quantization.mixed import write_mixed

    precision = precision_named(one.point.precision)
    ctx = replace(
        job.ctx,
        workdir=folder,
        reduced_graph=wants_reduced_graph(job.request, precision),
        keep_fp32=one.keep_fp32,
        keep_fp16=(),  # the graph has the layers of the configuration already
    )
    graph = folder / "graph.onnx"
    write_mixed(calibrated, graph, one.layers)
    graph = job.hooks.reduce_precision(ctx, graph, spec, precision)
    built = job.hooks.build_engine(ctx, graph, spec, precision, backend)
    assert built is not None, "the backend said that it can build"
    return next(iter(built.files.values()))


def _median(runner: Any, inputs: Mapping[str, Any]) -> float:
    times = []
    for _ in range(_WARM + _RUNS):
        started = time.perf_counter()
        runner.run(inputs)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times[_WARM:]))
