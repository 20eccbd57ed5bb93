"""The section on end-to-end speed of the measurements page: from decoded images to boxes, on a GPU."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.common.results import markdown, read
from benchmarks.inference.end_to_end import judged
from thread_speed import threads_of_run, ways_to_share

SIZES = ("720p", "1080p", "4K")
BATCHES = (1, 8, 32)
ARRAY_TOOLS = ("Polygraphy", "trtutils")
THROUGHPUT_TARGET = 4
"""Of lists of 8 images, as a multiple of Ultralytics'."""
COLUMNS = ("images", "memory", "batch", "ms", "alone", "ratio", "bound", "of the bound", "target", "")


def end_to_end() -> list[str]:
    kept = read("end_to_end_gpu")
    measured, earlier = kept["measured"], kept["earlier run"]
    return [
        "## End to end on a GPU",
        "",
        f"{kept['network']}: from decoded uint8 images with about ten objects each to boxes in their pixels, on one",
        f"{kept['machine']}, Python {kept['python']}. Batch 1 is the latency of a call (median), 8 and 32 are",
        "the steady throughput of a stream (mean). *Alone* is the time of the engine in one context with its input in GPU memory, measured in turns with",
        "the images of the row. The *bound* follows from that time and the fastest way that brings the images to the GPU, measured without an engine in the same",
        "run: for batch 1 it is their sum, otherwise the longer of the two. The project's target is a multiple of *alone*: 2.0 for batch 1; otherwise 1.3 for",
        "images in device memory and 1.5 for images on the host. If the bound exceeds the target, the target is 1.2 times the bound:",
        "",
        *markdown(COLUMNS, _rows(kept["rows"])),
        "",
        "Batches of a stream run in several contexts, which overlap on the GPU: a stream can be faster than the engine alone. The bound is a measurement as well,",
        "so a time can be below it.",
        "",
        *_without_turns(measured),
        "",
        *_targets(kept, [*kept["other runs"], *kept["before"]]),
        "",
        *_host(measured),
        "",
        *_peers(measured),
        "",
        *_arrays(kept["arrays"]),
        "",
        "Images from JPEG files, decoded by OpenCV on the CPU or by nvImageCodec on the GPU (`gpu_jpeg=True`; ms; *decoding* is the time to decode one image):",
        "",
        *markdown(["images", "decoded on", "decoding", *(f"batch {batch}" for batch in BATCHES)], _jpeg(measured)),
        "",
        *threads_of_run(kept, read("thread_intervals")),
        "",
        *_memory(kept["memory"]),
        "",
        f"`benchmarks/inference/end_to_end.py`: {kept['machine']}, {kept['date']}.",
        "",
        *ways_to_share(read("thread_ways")),
        "",
        f"The rest of this section is of an earlier run, with {_level(earlier)} ({earlier['machine']}). Ways to bring one image in pageable memory",
        "to the GPU (`benchmarks/inference/pageable_ways.py`; ms of a call, median, in turns). The first calls with an image size try to copy, to resize, and",
        "to let the driver copy; later calls use what was the fastest of these, which is not always the fastest here:",
        "",
        *markdown(["", *SIZES], _ways(earlier["ways"])),
        "",
        *_half(earlier["half"]),
        "",
        *_video(earlier["video"]),
        "",
        f"`benchmarks/inference/end_to_end.py`: {earlier['machine']}, {earlier['date']}.",
    ]


def _level(run: dict[str, Any]) -> str:
    return str(run["network"].rpartition(", ")[2])


def _gpu(run: dict[str, Any]) -> str:
    return str(run["machine"].partition(",")[0])


def _memory(kept: dict[str, Any]) -> list[str]:
    count = max(map(int, kept["threads"]))
    one, many = kept["threads"]["1"], kept["threads"][str(count)]
    *_, middle, last = many["samples"]
    calls, half = last["calls"], {name: last[name] - middle[name] for name in ("process", "gpu")}

    def said(grown: dict[str, float]) -> str:
        return f"{grown['process']:.1f} MiB in the process and {grown['gpu']:.0f} MiB on the GPU"

    return [
        f"Growth of memory up to {calls:,} calls with images of 720p in pageable memory, after the first tenth of them: {said(one['growth'])} with one thread,",
        f"{said(many['growth'])} with {count}, of which {half['process'] * 1024:.0f} KiB and {half['gpu']:.0f} MiB in the second half of the calls ({_gpu(kept)}). For each concurrent call, up to 16,",
        "4 MiB of page-locked memory are kept for the copy of such an image.",
    ]


def _without_turns(measured: dict[str, Any]) -> list[str]:
    """The targets, with the engine alone in a loop without other calls."""
    alone = [measured[f"alone_{batch}"] for batch in BATCHES]
    times = [
        f"{min(one['p50'], one['steady'] if batch > 1 else math.inf):.2f}"
        for batch, one in zip(BATCHES, alone, strict=True)
    ]
    rows = [
        judged(measured, name, {key: value for key, value in found.items() if key != "alone"})
        for name, found in measured.items()
        if name.startswith("calls_")
    ]
    return [
        f"The engine alone is faster if no other calls are in between: {_listed(times)} ms at batch {_listed(list(map(str, BATCHES)))}. With these times as",
        f"*alone*, {_met(rows)} rows would meet their targets{_but(rows)}.",
    ]


def _targets(kept: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    """How many rows meet their targets, here and on other machines."""
    of_720p = sum(" 720p pageable" in f" {_missed(run['rows'])}" for run in others)
    named = [("this run", kept), *(("this" if run.get("same version") else "earlier", run) for run in others)]
    rows = [
        [version, _gpu(run), run["date"], run.get("python", ""), _met(run["rows"]), _missed(run["rows"])]
        for version, run in named
    ]
    return [
        "The targets in this run and in others. A row that missed has its ratio and, in parentheses, the multiple of its bound:",
        "",
        *markdown(["version", "GPU", "date", "Python", "targets met", "missed"], rows),
        "",
        "Most of these rows are of 4K in pageable memory: 25 MB for each image, which the host has to copy or resize.",
        f"In {of_720p} runs of earlier versions, a row of 720p in pageable memory missed, most likely because the first calls had chosen a slower way to the GPU. Since then,",
        "a single image is timed until it is on the GPU, and the way with the fastest batch is chosen.",
    ]


def _met(rows: list[Any]) -> str:
    return f"{sum(row[8] for row in rows)} of {len(rows)}"


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _but(rows: list[Any]) -> str:
    return f"; the others are {missed}" if (missed := _missed(rows)) else ""


def _missed(rows: list[Any]) -> str:
    return ", ".join(
        f"{images} {memory} {batch}: {ratio:.3f} ({ms / bound:.2f})"
        for images, memory, batch, ms, _, ratio, bound, _, holds in sorted(rows)
        if not holds
    )


def _rows(rows: list[Any]) -> list[list[Any]]:
    found = []
    for images, memory, batch, ms, alone, ratio, bound, target, holds in sorted(rows):
        numbers = [f"{number:.2f}" for number in (ms, alone, ratio, bound, ms / bound, target)]
        found.append([images, memory, batch, *numbers, "met" if holds else "**missed**"])
    return found


def _host(measured: dict[str, Any]) -> list[str]:
    host = measured["host"]
    rates = host["copy, GB/s"]
    return [
        f"The host has {host['cores']} cores and {host['numa nodes']} NUMA node{'s' if host['numa nodes'] > 1 else ''}. Copies from memory to memory, by threads: "
        + ", ".join(f"{count}: {rate:.1f} GB/s" for count, rate in rates.items())
        + f". The bus: {measured['bus']['to device']:.1f} GB/s. From page-locked",
        "memory, only the rows that the resize uses cross it. The ways of one image to the GPU without an engine (ms, median):",
        "",
        *markdown(["", *SIZES], _transports(measured)),
    ]


def _transports(measured: dict[str, Any]) -> list[list[Any]]:
    found = {size: measured[f"transport_{size}"] for size in SIZES}
    rows = []
    for memory in ("pinned", "pageable"):
        ways = list(dict.fromkeys(way for one in found.values() for way in one[memory]["ways"]))
        rows += [[f"{memory}: {way}", *(_cell(found[size][memory]["ways"].get(way)) for size in SIZES)] for way in ways]
    rows.append(["pageable: each of 8, fastest way", *(_cell(found[size]["pageable"]["image"]) for size in SIZES)])
    return rows


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _ways(ways: dict[str, Any]) -> list[list[Any]]:
    rows = [[way, *(f"{ways[size][way]['p50']:.2f}" for size in SIZES)] for way in ways["720p"]]
    names = {"copy": "copied", "resize": "resized on the CPU", "send": "copied by the driver"}
    return [*rows, ["chosen was", *(names[ways[size]["chosen"]["way"]] for size in SIZES)]]


def _peers(measured: dict[str, Any]) -> list[str]:
    """Ultralytics, on images."""
    images = {
        (size, batch): {name: one["p50"] for name, one in measured[f"peers_ultralytics_{size}_{batch}"].items()}
        for size in SIZES
        for batch in BATCHES
    }
    faster = {given: times["Ultralytics"] / times["adaptrt"] for given, times in images.items()}
    in_turns = [images[size, 1]["adaptrt"] / measured[f"calls_{size}_pageable_1"]["p50"] for size in SIZES]
    held = all(faster[size, 8] >= THROUGHPUT_TARGET for size in SIZES)
    eight = _listed([f"{faster[size, 8]:.2f} times with images of {size}" for size in SIZES])
    return [
        "Compared with other tools, in turns, with the same engine (ms of a call, median). Ultralytics runs it with a wrapped header; both get a list of images in",
        f"pageable memory, or one image at batch 1. In these turns, adaptrt's calls with one image take {min(in_turns):.2f} to {max(in_turns):.2f} times as long as above, where only adaptrt runs: Ultralytics sets OpenCV to one thread in the process.",
        f"The project's target is at least {THROUGHPUT_TARGET} times the throughput of Ultralytics with lists of 8, which is {'met' if held else '**missed**'}: {eight}:",
        "",
        *markdown(
            ["images", "batch", "adaptrt", "Ultralytics", "times as fast"],
            [
                [size, batch, f"{times['adaptrt']:.2f}", f"{times['Ultralytics']:.2f}", f"{faster[size, batch]:.2f}"]
                for (size, batch), times in images.items()
            ],
        ),
    ]


def _arrays(kept: dict[str, Any]) -> list[str]:
    """trtutils and Polygraphy, on arrays."""
    found = {batch: kept["measured"][f"peers_arrays_{batch}"] for batch in BATCHES}
    times = {batch: {name: one["p50"] for name, one in sides.items()} for batch, sides in found.items()}
    shares = [max(sides["adaptrt"] / sides[tool] for tool in ARRAY_TOOLS) for sides in times.values()]
    return [
        "Polygraphy and trtutils were measured on arrays only: inputs and outputs of the engine in host memory, with an earlier version in Python",
        f"{kept['python']} ({kept['date']}; Polygraphy crashes with the Python {kept['crashes']} of the rest, where the version of TensorRT's Python package differs",
        "from that of its libraries). With its input in pageable memory,",
        f"adaptrt takes {_listed([f'{share:.2f}' for share in shares])} times as long as the faster of the two at batch {_listed(list(map(str, BATCHES)))}:",
        "",
        *markdown(
            ["batch", *times[1]], [[batch, *(f"{ms:.2f}" for ms in sides.values())] for batch, sides in times.items()]
        ),
    ]


def _jpeg(measured: dict[str, Any]) -> list[list[Any]]:
    rows = []
    for size in SIZES:
        on_gpu = measured[f"jpeg_gpu_{size}"]
        cpu = [_time(measured[f"jpeg_{size}_{batch}"]) for batch in ("decode", *BATCHES)]
        gpu = [_time(on_gpu[batch]) for batch in ("decode 1", *map(str, BATCHES))]
        rows += [[size, where, *(f"{one:.1f}" for one in times)] for where, times in (("CPU", cpu), ("GPU", gpu))]
    return rows


def _half(half: dict[str, Any]) -> list[str]:
    times = half["times"]
    one, eight = ((times[f"half {batch}"], times[f"single {batch}"]) for batch in (1, 8))
    return [
        "An engine with outputs in half precision, which engines from other tools may have, beside the same with float32 (optimization level 0, 720p,",
        f"pageable): {one[0]:.2f} and {one[1]:.2f} ms for one image, {eight[0]:.2f} and {eight[1]:.2f} ms for a list of 8.",
    ]


def _video(video: dict[str, Any]) -> list[str]:
    cpu, gpu = video["cv2"], video["nvdec, torch"]
    return [
        f"A 720p video (H.264, {cpu['frames']} frames), one frame after another: {cpu['ms']:.2f} ms a frame with OpenCV, of which decoding takes {cpu['decoding']:.2f}, and",
        f"{gpu['ms']:.2f} ms with PyNvVideoCodec {video['version']} on the GPU, of which decoding takes {gpu['decoding']:.2f}. Its colors differ by up to",
        f"{video['largest_difference_of_first_frame']} of 255 from OpenCV's, and {100 * gpu['same count']:.0f} % of the frames have the same number of boxes.",
    ]


def _time(one: dict[str, Any]) -> float:
    """A mean of a stream, else the median of a call."""
    return float(one.get("mean", one["p50"]))
