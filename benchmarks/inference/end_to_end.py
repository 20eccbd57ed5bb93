"""From decoded images to predictions, compared with the model file alone and with other tools, in turns in one process.

::

    python -m benchmarks.inference.end_to_end all --file best.engine [--wrapped for_ultralytics.engine] [--work FOLDER]

Every measurement is a file in the work folder, so that a run that was interrupted goes on where it ended. Stages:

- ``alone``: the file on inputs that lie where it reads them: no copies, no pre- and postprocessing
- ``bus``: copies from page-locked memory to the GPU and back (of numpy on a CPU), memory of the host, ways for an image
- ``calls``: batch 1 as latency of a call (median), 8 and 32 as steady throughput of a stream (mean; the median of three), of drawn images of
  720p, 1080p and 4K in pageable, page-locked and GPU memory, in turns with the file alone
- ``jpeg``: decoding alone, and batches of JPEG files, decoded on the CPU and on the GPU (nvImageCodec)
- ``threads``: from 1 to 8 threads, each with one call at a time: on an image, also with ``join_calls=8``, and of the file alone, also with
  the copies that an image in pageable memory needs
- ``memory``: of the process and the GPU over many calls, of one thread and of the largest number of threads
- ``peers``: Ultralytics on the same engine, and Polygraphy and trtutils on host arrays. Ultralytics sets OpenCV to one thread in this process
- ``report``: the targets, and what of them holds, with all measurements in ``report.json``; those of several machines were put together for
  ``benchmarks/results/end_to_end_gpu.json``

The bound of a call is the sum of the file alone and of the fastest way that brings an image to the GPU (``transports``), measured in the
same run; that of a stream is the larger of the two. Where the bound is more than the target, the target is 1.2 times the bound.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import adaptrt
from adaptrt.errors import DependencyError
from adaptrt.pipeline.load import Model
from adaptrt.specs.runners import AllocatesInputs
from benchmarks.common.results import machine, table, use_fixtures
from benchmarks.inference import transports
from benchmarks.inference.thread_rates import TURNS, rates, with_copies

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.placed_images import Placed

SIZES = {"720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
BATCHES, MEMORIES = (1, 8, 32), ("pageable", "pinned", "device")
TARGETS = {"device": 1.3, "pinned": 1.5, "pageable": 1.5}
LATENCY_TARGET, SLACK = 2.0, 1.2
DRAINING = 8  # batches at the end of a stream, which nothing follows
STAGES = ("alone", "bus", "calls", "jpeg", "threads", "memory", "peers", "report")
Call = Callable[[], Any]


class Work:
    """The model, the options, and what was measured before."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.work
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model = adaptrt.load(options.file, allow_host_code=True)
        self.gpu = "TensorRT" in self.model.runner.backend
        self.batches = [batch for batch in options.batches if batch <= self.model.largest_batch]

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What ``measure`` returned in this or an earlier run."""
        path = self.folder / f"{name.replace(' ', '_')}.json"
        if not path.exists():
            found = measure()
            path.write_text(json.dumps(found))
            if self.options.lines:
                with self.options.lines.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"name": path.stem, "measured": found}) + "\n")
            print(time.strftime("%H:%M:%S"), name, json.dumps(found)[:240], flush=True)
        return json.loads(path.read_text())

    def images(self, size: str, memory: str, count: int) -> list[Any]:
        whole = drawn(SIZES[size], min(count, 8))
        whole = [whole[index % len(whole)] for index in range(count)]
        return [self.placed(image, memory) for image in whole] if memory != "pageable" else whole

    def placed(self, image: np.ndarray, memory: str) -> Any:
        if memory == "pinned":
            array = self.model.runner.input_array(image.shape, np.uint8)  # type: ignore[attr-defined]
            array[...] = image
            return array
        from adaptrt.backends.tensorrt.device import import_cudart
        from benchmarks.gpu.timing import Memory

        return Memory(import_cudart(), image)


@lru_cache(maxsize=1)
def drawn(size: tuple[int, int], count: int) -> list[np.ndarray]:
    """Images of this height and width with about ten objects each, RGB."""
    import cv2

    use_fixtures()
    from draw_shapes import Look, draw_detection_image

    images = [draw_detection_image(16, index, Look(objects=(8, 12))).image for index in range(count)]
    return [np.ascontiguousarray(cv2.resize(image, size[::-1])[..., ::-1]) for image in images]


def seconds_of(call: Call, work: Work, least: int = 5, most: float = math.inf) -> list[float]:
    """Of each call, for ``--seconds``, at most ``most``, after some that do not count."""
    for _ in range(3):
        call()
    times: list[float] = []
    until = time.perf_counter() + min(work.options.seconds, most)
    while len(times) < least or time.perf_counter() < until:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


def turns(sides: Mapping[str, Call], work: Work) -> dict[str, dict[str, float]]:
    """Milliseconds of each side; they are called one after another, in reversed order every other time."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for call in sides.values():
        for _ in range(3):
            call()
    until, number = time.perf_counter() + work.options.seconds * len(sides), 0
    while number < 5 or time.perf_counter() < until:
        for name in sides if number % 2 else reversed(sides):
            started = time.perf_counter()
            sides[name]()
            times[name].append(time.perf_counter() - started)
        number += 1
    return {name: milliseconds(values) for name, values in times.items()}


def milliseconds(values: list[float]) -> dict[str, float]:
    p50, p90, p99 = (1e3 * float(value) for value in np.percentile(values, (50, 90, 99)))
    return {"p50": p50, "p90": p90, "p99": p99, "calls": len(values)}


def alone(work: Work) -> None:
    for batch in work.batches:
        work.once(f"alone {batch}", lambda: of_file(work, batch))  # noqa: B023


def of_file(work: Work, batch: int) -> dict[str, float]:
    """Milliseconds of a call that is waited for; ``steady``: of one of many that follow each other without waiting (on a GPU)."""
    call, last = file_alone(work, batch)
    found = milliseconds(seconds_of(lambda: last(call()), work))
    if work.gpu:
        found["steady"] = steady(call, last, max(int(1e3 * work.options.seconds / found["p50"]), 20))
    return found


def steady(call: Call, last: Callable[[Any], None], count: int) -> float:
    """Milliseconds of one of many calls that follow each other without waiting."""
    started = time.perf_counter()
    for _ in range(count):
        outputs = call()
    last(outputs)
    return 1e3 * (time.perf_counter() - started) / count


def file_alone(work: Work, batch: int) -> tuple[Call, Callable[[Any], None]]:
    """The file without any copy that it does not need: a call, and what waits for its outputs."""
    from adaptrt.vision.transforms import batch_form

    shape, dtype = batch_form(work.model.spec, batch)
    values = (np.random.default_rng(0).random(shape) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    assert work.model.spec.image is not None
    name, runner = work.model.spec.image.input, work.model.runner
    if not work.gpu:
        return lambda: runner.run({name: values}), lambda _: None
    from adaptrt.backends.tensorrt.device import import_cudart
    from benchmarks.gpu.timing import Memory

    given = Memory(import_cudart(), values)
    return (
        lambda: runner({name: given}, outputs="borrowed"),  # type: ignore[operator]
        lambda outputs: next(iter(outputs.values())).synchronize(),
    )


def bus(work: Work) -> None:
    """The bus, the memory of the host, and the ways that images of each size can take."""
    found = work.once("bus", transports.gpu_bus if work.gpu else transports.host_copy)
    work.once("host", transports.host)
    if not work.gpu:
        return
    spec = work.model.spec
    assert spec.image is not None
    for size in SIZES:
        images, placed = work.images(size, "pageable", 8), placed_in(work, size)
        given = (images, placed, spec.image, spec.image_channels, 1e9 * found["to device"], work.options.seconds / 10)
        work.once(f"transport {size}", partial(transports.measure, *given))


def calls(work: Work) -> None:
    for size in SIZES:
        for memory in work.options.memories if work.gpu else ("pageable",):
            images = work.images(size, memory, 8)
            for batch in work.batches:
                name = f"calls {size} {memory} {batch}"
                work.once(name, lambda: beside_file(work, images, batch))  # noqa: B023


def beside_file(work: Work, images: list[Any], batch: int) -> dict[str, Any]:
    """``of_images`` and the file alone, in turns: ``alone`` is its median, or on a GPU the time of one of many calls."""
    call, last = file_alone(work, batch)
    if batch == 1:
        found = turns({"call": lambda: work.model(images[0]), "alone": lambda: last(call())}, work)
        boxes = len(work.model(images[0])[0])  # type: ignore[arg-type]
        return {**found["call"], "alone": found["alone"]["p50"], "boxes": boxes}
    streams, alone = [], []
    for _ in range(TURNS):
        once = milliseconds(seconds_of(lambda: last(call()), work, most=0.1))["p50"]
        count = max(int(1e3 * work.options.seconds / TURNS / once), 20)
        alone.append(min(once, steady(call, last, count)) if work.gpu else once)
        streams.append(of_images(work, images, batch))
    found = streams[int(np.argsort([one["mean"] for one in streams])[len(streams) // 2])]
    return {**found, "alone": float(np.median(alone)), "means": [one["mean"] for one in streams]}


def of_images(
    work: Work, images: list[Any], batch: int, model: Model | None = None, batches: int | None = None
) -> dict[str, float]:
    """Milliseconds of a call with one image, or of a batch within a stream of batches, and the boxes found in each."""
    model = model or work.model
    if batch == 1:
        boxes = len(model(images[0])[0])  # type: ignore[arg-type]
        return {**milliseconds(seconds_of(lambda: model(images[0]), work)), "boxes": boxes}
    return stream([images[index % len(images)] for index in range(batch)], model, batches or work.options.stream)


def stream(images: list[Any], model: Model, count: int) -> dict[str, float]:
    """Milliseconds between results of batches, when the next one is always ready; ``mean`` is the throughput."""
    warm = count // 4 + 4
    pipeline, spec = model._pipeline, model.spec

    def batches() -> Iterator[list[Any]]:
        for _ in range(count + warm + DRAINING):
            yield images

    ends, boxes = [], 0
    for result in pipeline.results(batches(), spec):
        ends.append(time.perf_counter())
        boxes = sum(map(len, result.predictions))  # type: ignore[arg-type]
    steps = np.diff(ends[warm - 1 : -DRAINING])
    return {**milliseconds(list(steps)), "mean": 1e3 * float(steps.mean()), "boxes": boxes}


def jpeg(work: Work) -> None:
    from adaptrt.vision.images import read_image, write_image

    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            files = [
                write_image(Path(folder) / f"{index}.jpg", image)
                for index, image in enumerate(work.images(size, "pageable", 8))
            ]
            work.once(f"jpeg {size} decode", lambda: milliseconds(seconds_of(lambda: read_image(files[0]), work)))  # noqa: B023
            for batch in work.batches:
                work.once(f"jpeg {size} {batch}", lambda: of_images(work, files, batch, batches=work.options.files))  # noqa: B023
            if work.gpu:
                work.once(f"jpeg_gpu {size}", lambda: on_gpu(work, files))  # noqa: B023


def on_gpu(work: Work, files: list[Path]) -> dict[str, Any]:
    """Decoding of one and of eight JPEG files on the GPU alone, and whole calls, by batch."""
    try:
        model = adaptrt.load(work.options.file, allow_host_code=True, gpu_jpeg=True)
    except DependencyError as error:
        return {"not run": error.message}
    with model:
        decoded = model.runner.decoded  # type: ignore[attr-defined]
        wait = model.runner._images.cuda.synchronize  # type: ignore[attr-defined]

        def decode(some: list[Path]) -> None:
            taken = decoded(some)
            assert not any(isinstance(one, Path) for one in taken), "left to the CPU"
            wait(model.runner._images.stream)  # type: ignore[attr-defined]

        found: dict[str, Any] = {
            f"decode {count}": milliseconds(seconds_of(lambda: decode(files[:count]), work))  # noqa: B023
            for count in (1, 8)
        }
        for batch in work.batches:
            found[str(batch)] = of_images(work, files, batch, model, work.options.files)
    return found


def peers(work: Work) -> None:
    for size in SIZES:
        for batch in work.batches:
            work.once(f"peers ultralytics {size} {batch}", lambda: beside_ultralytics(work, size, batch))  # noqa: B023
    for batch in work.batches:
        work.once(f"peers arrays {batch}", lambda: beside_array_runners(work, batch))  # noqa: B023


def beside_ultralytics(work: Work, size: str, batch: int) -> dict[str, Any]:
    """Lists of images: both get the same pixels, in the order of channels that each takes."""
    source = work.options.wrapped or (None if work.gpu else work.options.file)
    if source is None:
        return {"not run": "--wrapped FILE is missing (adaptrt engine wrap best.engine -o FILE)"}
    try:
        from ultralytics import YOLO
    except ImportError as error:
        return {"not run": str(error)}
    images = work.images(size, "pageable", batch)
    bgr = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    yolo = YOLO(str(source), task="detect")
    height, width = work.model.spec.image_size
    given: Any = images if batch > 1 else images[0]

    def theirs() -> None:
        yolo.predict(bgr if batch > 1 else bgr[0], imgsz=[height, width], rect=False, verbose=False, batch=batch)

    return turns({"adaptrt": lambda: work.model(given), "Ultralytics": theirs}, work)


def beside_array_runners(work: Work, batch: int) -> dict[str, Any]:
    """Arrays in host memory to arrays in host memory."""
    from adaptrt.vision.transforms import batch_form

    shape, dtype = batch_form(work.model.spec, batch)
    values = np.random.default_rng(0).random(shape).astype(dtype)
    assert work.model.spec.image is not None
    name, runner = work.model.spec.image.input, work.model.runner
    sides: dict[str, Call] = {"adaptrt": lambda: runner.run({name: values})}
    if isinstance(runner, AllocatesInputs):
        held = runner.input_array(shape, dtype)
        held[...] = values
        sides["adaptrt, page-locked input"] = lambda: runner.run({name: held})
    missing = {}
    for peer, opened in (("Polygraphy", polygraphy_call), ("trtutils", trtutils_call)):
        try:
            sides[peer] = opened(work, name, values)
        except Exception as error:  # a peer that is not installed, or does not load the file, is a row that says so
            missing[peer] = f"not run: {type(error).__name__}: {str(error)[:160]}"
    return {**turns(sides, work), **missing}


def polygraphy_call(work: Work, name: str, values: np.ndarray) -> Call:
    if not work.gpu:
        from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx

        runner = OnnxrtRunner(SessionFromOnnx(str(work.options.file)))
    else:
        from polygraphy.backend.common import BytesFromPath
        from polygraphy.backend.trt import EngineFromBytes, TrtRunner

        runner = TrtRunner(EngineFromBytes(BytesFromPath(str(work.options.file))))
    runner.activate()
    return lambda: runner.infer({name: values}, check_inputs=False)


def trtutils_call(work: Work, name: str, values: np.ndarray) -> Call:  # noqa: ARG001 - as the other
    if not work.gpu:
        raise ImportError("trtutils runs engines only")
    from trtutils import TRTEngine

    engine = TRTEngine(str(work.options.file), warmup=False)
    return lambda: engine.execute([values])


def threads(work: Work) -> None:
    """Calls per second, the median of three turns; each thread waits for its own result: of the file alone, and on one image of 720p in each memory."""
    sides: dict[str, Call] = {}
    call, last = file_alone(work, 1)
    sides["alone"] = lambda: last(call())
    if work.gpu:
        sides["alone, with copies"] = with_copies(work, sides["alone"])
    joining = adaptrt.load(work.options.file, allow_host_code=True, join_calls=min(8, work.model.largest_batch))
    for memory in work.options.memories if work.gpu else ("pageable",):
        image = work.images("720p", memory, 1)[0]
        sides[memory] = lambda image=image: work.model(image)  # type: ignore[misc]
        sides[f"{memory}, joined"] = lambda image=image: joining(image)  # type: ignore[misc]
    for count in work.options.threads:
        work.once(f"threads {count}", partial(rates, work, sides, count))
    joining.close()


def memory(work: Work) -> None:
    for count in sorted({1, max(work.options.threads)}):
        work.once(f"memory, {count} threads", partial(memory_over, work, count))


def memory_over(work: Work, count: int) -> dict[str, Any]:
    """MiB of the process and the GPU after a tenth, half and all of the calls: of several images, or of one if threads make them."""
    images = work.images("720p", "pageable", min(8, max(work.batches)))
    total, found = work.options.calls, []

    def calls(numbers: range) -> None:
        for number in numbers:
            work.model(images[: 1 + number % len(images)] if count == 1 else images[number % len(images)])

    with ThreadPoolExecutor(count) as pool:
        for done, until in pairwise((0, total // 10, total // 2, total)):
            list(pool.map(calls, [range(done + first, until, count) for first in range(count)]))
            found.append({"calls": until, **used(work)})
    growth = {key: found[-1][key] - found[0][key] for key in found[0] if key != "calls"}
    return {"samples": found, "growth": growth}


def used(work: Work) -> dict[str, float]:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    sizes = {"process": pages * os.sysconf("SC_PAGE_SIZE") / 2**20}
    if work.gpu:
        from adaptrt.backends.tensorrt.device import import_cudart

        _, free, whole = import_cudart().cudaMemGetInfo()
        sizes["gpu"] = (whole - free) / 2**20
    return sizes


def report(work: Work) -> None:
    kept = {path.stem: json.loads(path.read_text()) for path in sorted(work.folder.glob("*.json"))}
    kept.pop("report", None)
    rows = [row for name, found in kept.items() if (row := judged(kept, name, found))]
    table(["images", "memory", "batch", "ms", "alone, ms", "ratio", "bound, ms", "target, ms", "holds"], rows)
    result = {
        **machine("numpy", "opencv-python" if not work.gpu else "opencv-python-headless"),
        "backend": work.model.runner.backend,
        "file": Path(work.options.file).name,
        "warnings": list(getattr(work.model.runner, "warnings", ())),
        "measured": kept,
        "rows": rows,
    }
    text = json.dumps(result, indent=1) + "\n"
    (work.folder / "report.json").write_text(text)
    print("\n".join(f"{name}: {json.dumps(value)}" for name, value in kept.items() if not name.startswith("calls")))


def judged(kept: Mapping[str, Any], name: str, found: Any) -> list[Any] | None:
    """A row of the table, with its bound and target."""
    kind, *parts = name.split("_")
    if kind != "calls" or "bus" not in kept or f"alone_{parts[2]}" not in kept:
        return None
    size, place, batch = parts[0], parts[1], int(parts[2])
    alone = kept[f"alone_{batch}"]
    least = found.get("alone") or (alone["p50"] if batch == 1 else min(alone["p50"], alone.get("steady", alone["p50"])))
    transport = kept.get(f"transport_{size}", {}).get(place, {"call": 0.0, "image": 0.0})
    bound = least + transport["call"] if batch == 1 else max(least, batch * transport["image"])
    target = least * (LATENCY_TARGET if batch == 1 else TARGETS[place])
    target = max(target, SLACK * bound) if bound > target else target
    spent = found.get("mean", found["p50"])
    return [size, place, batch, spent, least, spent / least, bound, target, spent <= target]


def placed_in(work: Work, size: str) -> Placed:
    """Where images of this size lie in the input, and which of their rows have a weight."""
    from adaptrt.backends.tensorrt.runtime.placed_images import ImageForm, Prepared

    spec = work.model.spec
    assert spec.image is not None
    return Prepared(ImageForm(spec.image, *spec.image_size, spec.image_channels, 1)).placed(SIZES[size])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["all", *STAGES], nargs="+")
    parser.add_argument("--file", required=True, help="an engine, or an ONNX file to try the script on a CPU")
    parser.add_argument("--wrapped", help="the same engine with Ultralytics' header")
    parser.add_argument("--work", type=Path, default=Path("build/end_to_end"))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--memories", nargs="+", choices=MEMORIES, default=MEMORIES)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2, 4, 8), help="of the stage threads")
    parser.add_argument("--lines", type=Path, help="append each measurement to this file too, as a line of JSON")
    parser.add_argument("--stream", type=int, default=240, help="batches of a stream")
    parser.add_argument("--files", type=int, default=60, help="batches of a stream of files")
    parser.add_argument("--calls", type=int, default=10_000, help="calls of the stage memory")
    faulthandler.enable()  # other tools run in this process
    work = Work(parser.parse_args())
    stages: dict[str, Callable[[Work], None]] = {
        "alone": alone, "bus": bus, "calls": calls, "jpeg": jpeg, "threads": threads, "memory": memory, "peers": peers,
        "report": report,
    }  # fmt: skip
    for name in STAGES if "all" in work.options.stage else work.options.stage:
        stages[name](work)


if __name__ == "__main__":
    main()
