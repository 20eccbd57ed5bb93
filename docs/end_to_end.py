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
            "held" if holds else "**missed**",
        ]
        for images, memory, batch, ms, alone, ratio, _, target, holds in sorted(kept["rows"])
    ]
    jpeg = [
        [size, *(f"{_time(measured[f'jpeg_{size}_{batch}']):.1f}" for batch in ("decode", 1, 8, 32))]
        for size in ("720p", "1080p", "4K")
    ]
    peers = [
        [*key.removeprefix("peers_").rsplit("_", 1), name, f"{one['p50']:.2f}"]
        for key, sides in sorted(measured.items())
        if key.startswith("peers_")
        for name, one in sides.items()
    ]
    threads = ", ".join(
        f"{key.removeprefix('threads_')}: {one['calls per second']:.0f}"
        for key, one in sorted(measured.items())
        if key.startswith("threads_")
    )
    memory: dict[str, Any] = measured["memory"]
    alone = measured["alone_1"]
    sizes = ("720p", "1080p", "4K")
    beside, pageable = (
        min(measured[f"calls_{size}_{memory}_1"]["p50"] for size in sizes) - alone["p50"]
        for memory in ("device", "pageable")
    )
    return [
        "## End to end on a GPU",
        "",
        f"{kept['network']}: from decoded uint8 images with about ten objects each to boxes in their pixels. Batch 1 is the latency of a call",
        "(median), 8 and 32 are the steady throughput of a stream (mean). *Alone* is the engine on an input that lies in the memory of the GPU. The",
        "target is 2.0 of it for batch 1, 1.3 for images in the memory of the device and 1.5 on the host, or 1.2 of what the bus allows.",
        "",
        *markdown(["images", "memory", "batch", "ms", "alone, ms", "ratio", "target, ms", ""], rows),
        "",
        f"At batch 1, a call takes at least {beside:.2f} ms beside the engine, most of it in Python, and {pageable:.2f} ms with an image in pageable memory, which a",
        "thread copies to page-locked memory first (the CPU resizes 4K images instead): hence the missed rows. The same share limits threads, since one",
        f"at a time holds the interpreter lock: one thread that only runs the engine makes {1e3 / alone['p50']:.0f} calls per second. From page-locked memory, only the",
        "rows that the resize uses cross the bus.",
        "",
        "Beside others in the same run, with the same engine (ms, median; *arrays* are inputs and outputs of the engine in host memory):",
        "",
        *markdown(["input", "batch", "with", "ms"], peers),
        "",
        "From JPEG files, decoded by OpenCV on the CPU (ms; *decoding* is that of one image in one thread):",
        "",
        *markdown(["images", "decoding", "batch 1", "batch 8", "batch 32"], jpeg),
        "",
        f"Calls per second of batch 1 by threads: {threads}. Growth over {memory['samples'][-1]['calls']:,} calls: {memory['growth']['process']:.0f} MB in the",
        f"process, {memory['growth']['gpu']:.0f} MB on the GPU.",
        "",
        f"`benchmarks/inference/end_to_end.py`: {kept['machine']}, {kept['date']}."
        + (
            f" Of an earlier run on that day, with slower code: {', '.join(kept['earlier'])}."
            if kept.get("earlier")
            else ""
        ),
    ]


def _time(one: dict[str, Any]) -> float:
    """A mean of a stream, else the median of a call."""
    return float(one.get("mean", one["p50"]))
