"""Measures files side by side."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from adaptrt.errors import AdaptrtError
from adaptrt.pipeline.bench.forms import NOISE_SIZE, OpenForm, has_graphs, open_forms
from adaptrt.pipeline.bench.hardware import GpuSensors, measure_cpu_peak, sensor_warnings
from adaptrt.pipeline.bench.records import Benchmark, Peak, Row, compared
from adaptrt.pipeline.bench.request import BenchRequest
from adaptrt.pipeline.bench.turns import Call, Times, in_turns
from adaptrt.quantities import counted
from adaptrt.specs.precisions import PRECISIONS, precision_named
from adaptrt.specs.runners import CallsOnDevice, MeasuresPeak

if TYPE_CHECKING:
    from adaptrt.graph.work import Work
    from adaptrt.vision.images import ImageArray

Progress = Callable[[str, int, int], None]
_MEASURED = "measured in this run: multiply-adds, and a copy in its memory"
_THREAD_LIMITS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
_NOISE = 1.05  # times the physical limit
_FEW = 100  # calls: with fewer, the 99th percentile is about the slowest


def run_bench(request: BenchRequest, on_progress: Progress = lambda *_: None) -> Benchmark:
    """Measure every file with every batch size and number of threads; ``on_progress(title, done, total)`` after each turn."""
    forms = open_forms(request)
    try:
        return _Bench(request, forms, on_progress).run()
    finally:
        for one in forms:
            one.close()


class _Bench:
    def __init__(self, request: BenchRequest, forms: Sequence[OpenForm], on_progress: Progress) -> None:
        self.request, self.forms, self.on_progress = request, forms, on_progress
        height, width = NOISE_SIZE
        self.found = Benchmark(
            forms=[one.form for one in forms],
            image=str(request.image) if request.image is not None else f"image-like noise, {width} x {height} pixels",
            machine=_machine(),
            gpu_peak=request.gpu_peak,
            turns=request.turns,
            seconds=request.seconds,
            command=request.command,
        )
        self.images: dict[str, ImageArray] = {
            one.form.name: one.image(request) for one in forms if one.model is not None
        }
        self.work: dict[tuple[str, int], Work | None] = {}

    def run(self) -> Benchmark:
        request, found = self.request, self.found
        cells = [(batch, threads) for batch in self._batches() for threads in request.threads]
        for batch, _ in cells:
            for one in self.forms:
                one.shapes(batch)  # a batch that a file does not support fails before anything is measured
                if (one.form.name, batch) not in self.work:
                    self.work[one.form.name, batch] = self._count(one, batch)
        if request.cuda_graphs != "on" and not has_graphs(request):
            found.warnings.append("--cuda-graphs has no effect: none of the files is a TensorRT engine")
        on_cpu = all(one.form.on_cpu for one in self.forms)
        if any(one.form.on_cpu and _is_float32(one) and self.work[one.form.name, cells[0][0]] for one in self.forms):
            found.cpu_peak = measure_cpu_peak()
        if request.gpu_peak is None:
            self._measure_gpu_peaks()
        if on_cpu:
            self._measure(cells)
        else:
            device = (request.options.device or "cuda:0").partition(":")[2]
            with GpuSensors(int(device or 0)) as sensors:
                self._measure(cells)
            found.gpu = sensors.readings()
            found.warnings += sensor_warnings(found.gpu)
            found.notes += [sensors.note] if sensors.note else []
        self._compare()
        self._judge()
        return found

    def _batches(self) -> tuple[int, ...]:
        if self.request.batches:
            return self.request.batches
        axis = self.forms[0].spec.inputs[0].profiles[0][0]
        return (1 if 1 in axis else axis.opt,)

    def _measure(self, cells: Sequence[tuple[int, int]]) -> None:
        total, done = len(cells) * self.request.turns, 0
        for batch, threads in cells:
            calls: dict[tuple[str, str], Call] = {}
            for one in self.forms:
                calls[one.form.name, "file"] = self._file_call(one, batch)
                if isinstance(one.runner, CallsOnDevice):
                    calls[one.form.name, "device"] = one.runner.device_call(one.arrays(batch, self.request.image))
                if one.model is not None:
                    calls[one.form.name, "call"] = self._image_call(one, batch)
            title = _cell(batch, threads)
            times = in_turns(
                calls,
                turns=self.request.turns,
                seconds=self.request.seconds,
                threads=threads,
                runs_in=lambda key: key[0],
                on_turn=lambda turn, title=title, done=done: self.on_progress(title, done + turn, total),  # type: ignore[misc]
            )
            done += self.request.turns
            self.found.rows += [self._row(one, batch, threads, times) for one in self.forms]

    def _file_call(self, one: OpenForm, batch: int) -> Call:
        arrays = one.arrays(batch, self.request.image)

        def call() -> None:
            one.runner.run(arrays)

        return call

    def _image_call(self, one: OpenForm, batch: int) -> Call:
        model, images = one.model, [self.images[one.form.name]] * batch
        assert model is not None
        return lambda: model.timed(images)[1]

    def _row(self, one: OpenForm, batch: int, threads: int, times: dict[tuple[str, str], Times]) -> Row:
        name = one.form.name
        row = Row(name, batch, threads, times[name, "file"].measured(batch))
        if (name, "device") in times:
            row.device = times[name, "device"].measured(batch)
        calls = times.get((name, "call"))
        if calls is not None:
            row.call = calls.measured(batch)
            row.preprocess = 1000 * median(timing.preprocess for timing in calls.results)
            row.postprocess = 1000 * median(timing.postprocess for timing in calls.results)
        work = self.work[name, batch]
        if work is not None:
            row.operations, row.least_bytes, row.node_bytes = work.operations, work.least_bytes, work.node_bytes
            peak = self._peak(one)
            if peak is not None:
                arithmetic, memory = work.operations / peak.operations, work.least_bytes / peak.bytes
                row.limit = 1000 * max(arithmetic, memory)
                row.limited_by = "arithmetic" if arithmetic >= memory else "memory"
        return row

    def _peak(self, one: OpenForm) -> Peak | None:
        """Only what is known about the device in this precision."""
        if one.form.on_cpu:
            return self.found.cpu_peak if _is_float32(one) else None
        if one.source:  # it may compute in several precisions, as torch is set up
            return None
        return self.request.gpu_peak or self.found.gpu_peaks.get(one.precision or "")

    def _measure_gpu_peaks(self) -> None:
        """In every precision of a file whose work is known."""
        counted = {name for (name, _), work in self.work.items() if work is not None}
        runners = {one.precision: one.runner for one in self.forms if one.form.name in counted}
        for precision, runner in runners.items():
            if precision is None or not isinstance(runner, MeasuresPeak):
                continue
            try:
                peak = runner.measure_peak()
            except AdaptrtError as error:  # context only
                reason = error.message.removesuffix(".")
                self._note(f"the physical limit in {precision} is unknown without --gpu-peak: {reason}")
            else:
                self.found.gpu_peaks[precision] = Peak(peak.operations, peak.bytes, _MEASURED)

    def _count(self, one: OpenForm, batch: int) -> Work | None:
        if one.onnx is None:
            return None
        from adaptrt.graph.work import count_work

        try:
            return count_work(one.onnx, one.shapes(batch), weight_bits=_weight_bits(one))
        except AdaptrtError as error:  # context only: the measurement does not depend on it
            self._note(f"operations of {one.form.name} are unknown: {error.message}")
            return None

    def _note(self, text: str) -> None:
        note = text.removesuffix(".")
        if note not in self.found.notes:
            self.found.notes.append(note)

    def _compare(self) -> None:
        first = self.forms[0].form.name
        baselines = {(row.batch, row.threads): row for row in self.found.rows if row.form == first}
        for row in self.found.rows:
            baseline = baselines[row.batch, row.threads]
            if row is baseline:
                continue
            own, theirs = dict(row.measured()), dict(baseline.measured())
            for what in ("file alone", "on device", "call"):
                if what in own and what in theirs:
                    self.found.comparisons.append(compared(what, baseline, row, theirs[what], own[what]))

    def _judge(self) -> None:
        on_cpu = {one.form.name for one in self.forms if one.form.on_cpu}
        for row in self.found.rows:
            for what, measured in row.measured():
                if measured.drifts:
                    self.found.warnings.append(
                        f"{row.form}, {_cell(row.batch, row.threads)}: the {what} drifts, "
                        f"{100 * measured.drift:+.0f} % from the first third of the turns to the last"
                    )
            if row.limit_share is not None and row.limit_share > _NOISE:
                threads = _few_threads() if row.form in on_cpu else ""
                self._note(
                    f"{row.form} runs faster than its physical limit: the peak that this is computed from may be too low{threads}"
                )
        fewest = min(measured.calls for row in self.found.rows for _, measured in row.measured())
        if fewest < _FEW:
            self.found.notes.append(
                f"p99 is that of only {fewest} calls; --seconds {max(10, round(2 * self.request.seconds))} gives more"
            )


def _cell(batch: int, threads: int) -> str:
    return f"batch {batch}, {counted(threads, 'thread')}"


def _few_threads() -> str:
    """Why a product of NumPy can be slower than the CPU is."""
    limits = [name for name in _THREAD_LIMITS if name in os.environ]
    return f" ({limits[0]}={os.environ[limits[0]]} may limit the threads of NumPy)" if limits else ""


def _weight_bits(one: OpenForm) -> int | None:
    """Bits of a weight in the precision that a file was built in."""
    if one.precision is None or one.precision not in PRECISIONS:
        return None
    return precision_named(one.precision).bits


def _is_float32(one: OpenForm) -> bool:
    """Whether the graph computes in float32: the peak is measured in it."""
    if one.onnx is None:
        return False
    from adaptrt.onnxfile.reader import read_onnx

    return not set(read_onnx(one.onnx).weight_types) & {"float16", "bfloat16", "int8", "uint8", "float64"}


def _machine() -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts = {"system": platform.platform(), "python": platform.python_version(), "cores": str(cores)}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:  # not Linux
        names = []
    return {"cpu": names[0] if names else platform.processor() or "unknown", **facts}
