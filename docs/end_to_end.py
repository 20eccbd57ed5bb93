"""The section on end-to-end speed of the measurements page: from decoded images to boxes, on a GPU."""

from __future__ import annotations

from typing import Any

from benchmarks.common.results import markdown, read
from thread_speed import threads

SIZES = ("720p", "1080p", "4K")


def end_to_end() -> list[str]:
    kept = read("end_to_end_gpu")
    measured, earlier = kept["measured"], kept["earlier run"]
    others = earlier["measured"]
    have = {row[1] for row in kept["rows"]}
    missing = [row for row in earlier["rows"] if row[1] not in have]
    return [
        "## End to end on a GPU",
        "",
        f"{kept['network']}: from decoded uint8 images with about ten objects each to boxes in their pixels, on one",
        f"{kept['machine']}. Batch 1 is the latency of a call (median), 8 and 32 are",
        "the steady throughput of a stream (mean). *Alone* is the time of the engine in one context with its input in GPU memory. The *bound* is",
        "that time and the fastest way that brings the images to the GPU, measured without an engine in the same run: for batch 1 their sum, otherwise the",
        "longer of the two. The project's target is a multiple of the engine alone: 2.0 for batch 1; otherwise 1.3 for images in device memory and 1.5 for",
        f"images on the host. If the bound exceeds it, the target is 1.2 times the bound. *First machine* is the ratio in an earlier run ({kept['first run']['machine']}):",
        "",
        *markdown(
            [
                "images",
                "memory",
                "batch",
                "ms",
                "alone",
                "ratio",
                "bound",
                "of the bound",
                "target",
                "",
                "first machine",
            ],
            _rows(kept["rows"], kept["first run"]["rows"]),
        ),
        "",
        "Batches of a stream run in several contexts, which overlap on the GPU, so that a stream can be faster than the engine alone. The bound is measured",
        "too, so that a time can also be a little below it.",
        "",
        *_later_rows(kept["later runs"], earlier),
        "",
        *(_earlier_rows(missing, earlier) if missing else []),
        *_host(measured),
        "",
        *_streams(kept["streams"]),
        *threads(read("thread_ways"), read("thread_copies")),
        "",
        *_memory(kept["memory"]),
        "",
        f"`benchmarks/inference/end_to_end.py`: {kept['machine']}, {kept['date']}.",
        "",
        f"The rest of this section is of an earlier run, with {earlier['network'].rpartition(', ')[2]} ({earlier['machine']}). Ways to bring one image in pageable memory",
        "to the GPU (`benchmarks/inference/pageable_ways.py`; ms of a call, median, in turns). The first calls with an image size try to copy, to resize, and",
        "to let the driver copy; later calls use what was the fastest of these, which is not always the fastest here:",
        "",
        *markdown(["", *SIZES], _ways(earlier["ways"])),
        "",
        "Compared with other tools, in turns, with the same engine (ms of a call, median; *arrays* are inputs and outputs of the engine in host memory;",
        "*images* are a list in pageable memory. Arrays at batch 8 were measured in another run, on another machine of the same kind. Other tools were not",
        "measured at batch 32, with images of 4K, and trtutils and Polygraphy with images of any size):",
        "",
        *markdown(["input", "batch", "with", "ms"], _peers(others)),
        "",
        "The same from JPEG files, decoded by OpenCV on the CPU or by nvImageCodec on the GPU (`gpu_jpeg=True`; ms; *decoding* is the time to decode one image):",
        "",
        *markdown(["images", "decoded on", "decoding", "batch 1", "batch 8", "batch 32"], _jpeg(others)),
        "",
        *_half(earlier["half"]),
        "",
        *_video(earlier["video"]),
        "",
        f"`benchmarks/inference/end_to_end.py`: {earlier['machine']}, {earlier['date']}.",
    ]


def _memory(kept: dict[str, Any]) -> list[str]:
    one, many = kept["threads"]["1"], kept["threads"]["8"]
    calls = many["samples"][-1]["calls"]

    def said(grown: dict[str, float]) -> str:
        return f"{grown['process']:.1f} MiB in the process and {grown['gpu']:.0f} MiB on the GPU"

    return [
        f"Growth of memory up to {calls:,} calls with images of 720p in pageable memory, after the first tenth of them: {said(one['growth'])} with one thread,",
        f"{said(many['growth'])} with 8 ({kept['machine']}).",
    ]


def _later_rows(runs: list[dict[str, Any]], earlier: dict[str, Any]) -> list[str]:
    """Machines of which only what missed its target is listed."""
    level = earlier["network"].rpartition(", ")[2]
    parts = []
    for run in runs:
        missed = [row for row in sorted(run["rows"]) if not row[8]]
        rows = ", ".join(f"{one[0]} {one[1]} {one[2]}: {one[5]:.2f} ({one[3] / one[6]:.2f})" for one in missed)
        copies = run["host"]["copy, GB/s"]
        copied = f"copies of the host with 1, 8 and 16 threads: {copies['1']:.1f}, {copies['8']:.1f} and {copies['16']:.1f} GB/s"
        gpu = run["machine"].partition(",")[0]
        missed_rows = f"; missed: {rows}" if rows else ""
        parts.append(f"{len(run['rows']) - len(missed)} of {len(run['rows'])} ({gpu}; {copied}{missed_rows})")
    return [
        f"The same on {len(runs)} more machines (in parentheses, the multiple of the bound): {', '.join(parts[:-1])} and {parts[-1]} rows meet their targets. "
        "Only images in pageable memory missed one. Their times depend on how fast the machine copies, and that is not all: rows far above their bound "
        "took longer than the engine and the copies do. "
        f"An earlier version, with an engine of {level}, which is faster, met {sum(row[8] for row in earlier['rows'])} of {len(earlier['rows'])} ({earlier['machine'].partition(',')[0]}).",
    ]


def _earlier_rows(rows: list[Any], earlier: dict[str, Any]) -> list[str]:
    return [
        f"Of an earlier run, with {earlier['network'].rpartition(', ')[2]}:",
        "",
        *markdown(
            ["images", "memory", "batch", "ms", "alone", "ratio", "bound", "of the bound", "target", ""],
            [row[:-1] for row in _rows(rows, [])],
        ),
        "",
    ]


def _streams(streams: dict[str, Any]) -> list[str]:
    """Streams of images in pageable memory, one thing changed at a time."""
    if not streams:
        return []
    sides = [side for side in reversed(next(iter(streams.values()))) if side != "way"]
    rows = [[*name.split(), *(f"{one[side]:.2f}" for side in sides), one["way"]] for name, one in streams.items()]
    return [
        "What a stream of images in pageable memory does (*chosen*), and with one thing changed (`benchmarks/inference/pageable_streams.py`; ms of a batch, mean).",
        "Measured on the first machine, where the CPU resized the images where that took less time; since then, only where it takes less than half the time:",
        "",
        *markdown(["images", "batch", *sides, "the chosen way"], rows),
        "",
    ]


def _rows(rows: list[Any], first: list[Any]) -> list[list[Any]]:
    """``first``: those of the first machine."""
    ratios = {tuple(row[:3]): f"{row[5]:.2f}" + ("" if row[8] else ", missed") for row in first}
    found = []
    for images, memory, batch, ms, alone, ratio, bound, target, holds in sorted(rows):
        numbers = [f"{number:.2f}" for number in (ms, alone, ratio, bound, ms / bound, target)]
        was = ratios.get((images, memory, batch), "")
        found.append([images, memory, batch, *numbers, "met" if holds else "**missed**", was])
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


def _peers(measured: dict[str, Any]) -> list[list[Any]]:
    return [
        [*key.removeprefix("peers_").replace("ultralytics_", "images, ").rsplit("_", 1), name, f"{one['p50']:.2f}"]
        for key, sides in sorted(measured.items())
        if key.startswith("peers_")
        for name, one in sides.items()
    ]


def _jpeg(measured: dict[str, Any]) -> list[list[Any]]:
    rows = []
    for size in SIZES:
        on_gpu = measured[f"jpeg_gpu_{size}"]
        cpu = [_time(measured[f"jpeg_{size}_{batch}"]) for batch in ("decode", 1, 8, 32)]
        gpu = [_time(on_gpu[batch]) for batch in ("decode 1", "1", "8", "32")]
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
