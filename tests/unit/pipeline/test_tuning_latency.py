"""Builds for the times of configurations: what hooks receive, and what is timed."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from copying_backend import Copying

from adaptrt import Conversion, Dim, InputSpec, ModelSpec, Request
from adaptrt.backends.choice import Chosen
from adaptrt.pipeline.tuning import latency
from adaptrt.specs.backends import Built
from adaptrt.specs.tuning import PointRecord

SPEC = ModelSpec(inputs=(InputSpec.image(32, 32, batch=Dim(1, 4, 8, "batch")), InputSpec("scale", ((Dim.fixed(3),),))))


@pytest.mark.parametrize("target", ["8", "10"])
def test_hooks_receive_the_configuration_and_the_request(
    target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called: list[Any] = []
    ran: list[dict[str, tuple[int, ...]]] = []

    def seen(ctx: Conversion, precision: Any) -> None:
        called.append((ctx.request.precision, ctx.request.keep_fp32, precision.name, ctx.reduced_graph, ctx.keep_fp32))

    def reduce_precision(ctx: Conversion, path: Path, spec: ModelSpec, precision: Any) -> Path:
        seen(ctx, precision)
        return path

    def build_engine(ctx: Conversion, path: Path, spec: ModelSpec, precision: Any, backend: Any) -> Built:
        seen(ctx, precision)
        return Built(files={".engine": path})

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        ran.append({name: array.shape for name, array in inputs.items()})
        return {}

    monkeypatch.setattr("adaptrt.quantization.mixed.write_mixed", lambda *_: None)
    monkeypatch.setattr(latency, "open_artifact", lambda *_: SimpleNamespace(run=run, close=lambda: None))
    request = Request("net.onnx", "", precision="int8", target=target, keep_fp32=("asked",), to=("engine",))
    job: Any = SimpleNamespace(
        request=request,
        ctx=Conversion(request, None, tmp_path, keep_fp32=request.keep_fp32),
        workdir=tmp_path,
        chosen=[Chosen(Copying(), ".copy.bin", asked=True)],
        hooks=SimpleNamespace(reduce_precision=reduce_precision, build_engine=build_engine),
        timed=lambda _: nullcontext(SimpleNamespace(note="")),
    )
    points = [PointRecord(name, name, [], 0.0, 1.0) for name in ("fp16", "int8")]
    found = [latency.Configuration(point, (), (f"kept in {point.title}",)) for point in points]
    sample = {"images": np.zeros((1, 3, 32, 32), np.float32), "scale": np.ones(3, np.float32)}
    latency.measure_latencies(job, SPEC, SimpleNamespace(), sample, found)  # type: ignore[arg-type]
    reduced = target == "10"  # an earlier one has a builder flag
    assert called == [
        *[("int8", ("asked",), "fp16", reduced, ("kept in fp16",))] * 2,
        *[("int8", ("asked",), "int8", False, ("kept in int8",))] * 2,
    ]
    assert all(shapes == {"images": (4, 3, 32, 32), "scale": (3,)} for shapes in ran)
    assert all(point.milliseconds is not None for point in points)
