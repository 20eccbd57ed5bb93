"""The section on end-to-end speed of the measurements page: from decoded images to boxes, on a GPU."""

from __future__ import annotations

from typing import Any

from benchmarks.common.results import markdown, read


def end_to_end() -> list[str]:
    kept = read("end_to_end_gpu")
    measured = kept["measured"]
    rows = [
        [
            images,
            memory,
            batch,
            *(f"{number:.2f}" for number in (ms, alone, ratio, target)),
            "met" if holds else "**missed**",
        ]
        for images, memory, batch, ms, alone, ratio, _, target, holds in sorted(kept["rows"])
    ]
    sizes = ("720p", "1080p", "4K")
    jpeg = []
    for size in sizes:
        on_gpu = measured[f"jpeg_gpu_{size}"]
        cpu = [_time(measured[f"jpeg_{size}_{batch}"]) for batch in ("decode", 1, 8, 32)]
        gpu = [_time(on_gpu[batch]) for batch in ("decode 1", "1", "8", "32")]
        jpeg += [[size, where, *(f"{one:.1f}" for one in times)] for where, times in (("CPU", cpu), ("GPU", gpu))]
    peers = [
        [*key.removeprefix("peers_").rsplit("_", 1), name, f"{one['p50']:.2f}"]
        for key, sides in sorted(measured.items())
        if key.startswith("peers_")
        for name, one in sides.items()
    ]
    threads = [
        [run, threads, *(f"{one[side]:.0f}" for side in ("alone", "device", "pinned", "pageable"))]
        for run, found in kept["threads"].items()
        for threads, one in found.items()
    ]
    calls = [
        [
            size,
            memory,
            *(f"{one[f'calls_{size}_{memory}_1']['p50']:.2f}" for one in (kept["before"]["calls"], measured)),
        ]
        for size in sizes
        for memory in ("device", "pinned", "pageable")
    ]
    ways = {
        "default": "adaptrt's default",
        "one thread": "one thread copies",
        "driver": "the driver copies",
        "resized on the CPU": "the CPU resizes",
    }
    variants = [[text, *(f"{kept['variants'][size][way]['p50']:.2f}" for size in sizes)] for way, text in ways.items()]
    memory: dict[str, Any] = measured["memory"]
    more = kept["day before"]
    pageable = [
        [images, batch, f"{ms:.2f}", f"{ratio:.2f}", "met" if holds else "**missed**"]
        for images, _, batch, ms, _, ratio, _, _, holds in sorted(more["rows"])
        if batch > 1
    ]
    return [
        "## End to end on a GPU",
        "",
        f"{kept['network']}: from decoded uint8 images with about ten objects each to boxes in their pixels. Batch 1 is the latency of a call",
        "(median), 8 and 32 are the steady throughput of a stream (mean). *Alone* is the time of the engine with its input in GPU memory. The",
        "project's target is a multiple of that time: 2.0 for batch 1; otherwise 1.3 for images in device memory and 1.5 for images on the host. If the",
        "bus does not allow that, the target is 1.2 times the least that it allows: for batch 1 the transfer plus the engine, otherwise the longer of the two.",
        "",
        *markdown(["images", "memory", "batch", "ms", "alone, ms", "ratio", "target, ms", ""], rows),
        "",
        "For pageable memory, which the host has to copy, machines of the same kind differ. On another machine, a day earlier and with slower code, the",
        f"rows of batch 8 and 32 were ({more['date']}):",
        "",
        *markdown(["images", "batch", "ms", "ratio", ""], pageable),
        "",
        "One image, before and after the change of 2026-11-27 that spends less time in Python (ms, median, in one run):",
        "",
        *markdown(["images", "memory", "before", "after"], calls),
        "",
        "Ways to bring one image in pageable memory to the GPU (`benchmarks/inference/pageable_ways.py`; ms, median, in turns):",
        "",
        *markdown(["", *sizes], variants),
        "",
        "Calls per second of threads that each wait for their own result, on an image of 720p; *alone* is the engine only. Threads do not reach the",
        "limit of the engine, because only one at a time can hold the interpreter lock; more than 4 threads contend for it. Before and after the change,",
        "in turns:",
        "",
        *markdown(["", "threads", "alone", "device", "pinned", "pageable"], threads),
        "",
        "From page-locked memory, only the rows that the resize uses cross the bus. Outputs in half precision, which engines from other tools may have,",
        "are copied entirely and decoded on the CPU, because the search for boxes on the GPU reads float32.",
        "",
        "Compared with other tools in the same run, with the same engine (ms, median; *arrays* are inputs and outputs of the engine in host memory):",
        "",
        *markdown(["input", "batch", "with", "ms"], peers),
        "",
        "The same from JPEG files, decoded by OpenCV on the CPU or by nvImageCodec on the GPU (`gpu_jpeg=True`; ms; *decoding* is the time to decode one image):",
        "",
        *markdown(["images", "decoded on", "decoding", "batch 1", "batch 8", "batch 32"], jpeg),
        "",
        f"Growth over {memory['samples'][-1]['calls']:,} calls: {memory['growth']['process']:.0f} MB in the process, {memory['growth']['gpu']:.0f} MB on the GPU.",
        "",
        f"`benchmarks/inference/end_to_end.py`: {kept['machine']}, {kept['date']}.",
    ]


def _time(one: dict[str, Any]) -> float:
    """A mean of a stream, else the median of a call."""
    return float(one.get("mean", one["p50"]))
