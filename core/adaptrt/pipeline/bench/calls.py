"""``adaptrt.bench``: the call of the Python API."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from adaptrt.pipeline.public_call import public_call
from adaptrt.pipeline.request_values import StrPath, origin_of, path_of, paths_of, shapes_of

if TYPE_CHECKING:
    from adaptrt.pipeline.bench.records import Benchmark


@public_call
def bench(
    *files: StrPath,
    batch: int | Sequence[int] = (),
    threads: int | Sequence[int] = 1,
    image: StrPath | None = None,
    shape: str | Sequence[str] = (),
    seconds: float = 2.0,
    turns: int = 20,
    cuda_graphs: Literal["on", "off", "both"] = "on",
    gpu_peak: tuple[float, float] | None = None,
    adapter: str | None = None,
    source: StrPath | None = None,
    weights: StrPath | None = None,
    options: Mapping[str, Any] | None = None,
    trust_checkpoint: bool = False,
    cpu_threads: int | None = None,
    device: str | None = None,
    custom_ops: StrPath | Sequence[StrPath] = (),
    allow_host_code: bool = False,
    plugin_libs: StrPath | Sequence[StrPath] = (),
    plugins_file: StrPath | None = None,
) -> Benchmark:
    """Measure files side by side, in turns; the first is the baseline of ``comparisons``.

    ``files`` are files that a backend opens, or ``"eager"`` with ``adapter`` and ``source`` as for ``convert``. ``batch`` and
    ``threads`` are one number or several: images per call, and threads that call the model at the same time.
    ``cpu_threads`` limits the CPU threads of one call.
    ``gpu_peak`` is the peak of the GPU, in TFLOPS and GB/s; ``None``: it is measured. Each row of the result has the times of the call
    (``model(images)``) and of the file alone. Values have the same form as for ``adaptrt bench``.
    """
    from adaptrt.pipeline.bench.records import Peak
    from adaptrt.pipeline.bench.request import BenchRequest
    from adaptrt.pipeline.bench.run import run_bench
    from adaptrt.specs.backends import OpenOptions

    return run_bench(
        BenchRequest(
            files=tuple(os.fspath(file) for file in files),
            batches=(batch,) if isinstance(batch, int) else tuple(batch),
            threads=(threads,) if isinstance(threads, int) else tuple(threads),
            image=path_of(image),
            shapes=shapes_of(shape),
            seconds=seconds,
            turns=turns,
            cuda_graphs=cuda_graphs,
            origin=origin_of(adapter, source, weights, options, trust_checkpoint),
            gpu_peak=None if gpu_peak is None else Peak(gpu_peak[0] * 1e12, gpu_peak[1] * 1e9, "gpu_peak"),
            options=OpenOptions(
                device=device,
                custom_ops=paths_of(custom_ops),
                plugin_libs=paths_of(plugin_libs),
                allow_host_code=allow_host_code,
                threads=cpu_threads,
            ),
            plugins_file=path_of(plugins_file),
        )
    )
