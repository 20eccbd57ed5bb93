"""The section on end-to-end speed of the measurements page: from decoded images to boxes, on a GPU."""

from __future__ import annotations

from typing import Any

from benchmarks.common.results import markdown, read

SIZES = ("720p", "1080p", "4K")
MEMORIES = ("device", "pinned", "pageable")
STAGES = ("write", "start", "decode")
PRODUCT = {"device": "device, they write", "pinned": "pinned, default", "pageable": "pageable, default"}
"""What a model does with an image of 720p."""
LETTERS = "ABCDEFGH"
WAYS = (
    "default",
    "they write",
    "each thread",
    "each thread, lock released",
    "8 contexts",
    "each thread, 8 contexts",
    "joined",
)


def end_to_end() -> list[str]:
    kept = read("end_to_end_gpu")
    measured, earlier = kept["measured"], kept["earlier run"]
    others = earlier["measured"]
    have = {row[1] for row in kept["rows"]}
    missing = [row for row in earlier["rows"] if row[1] not in have]
    return [
        "## End to end on a GPU",
        "",
        f"{kept['network']}: from decoded uint8 images with about ten objects each to boxes in their pixels. Batch 1 is the latency of a call",
        "(median), 8 and 32 are the steady throughput of a stream (mean). *Alone* is the time of the engine with its input in GPU memory. The *bound* is",
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
        *(_earlier_rows(missing, earlier) if missing else []),
        *_host(measured),
        "",
        *_streams(kept["streams"]),
        *_threads(read("thread_ways")),
        "",
        f"The rest of this section is of an earlier run, with {earlier['network'].rpartition(', ')[2]} ({earlier['machine']}). Ways to bring one image in pageable memory",
        "to the GPU (`benchmarks/inference/pageable_ways.py`; ms of a call, median, in turns). The first calls with an image size try to copy, to resize, and",
        "to let the driver copy; later calls use the fastest:",
        "",
        *markdown(["", *SIZES], _ways(earlier["ways"])),
        "",
        "Compared with other tools in the same run, with the same engine (ms, median; *arrays* are inputs and outputs of the engine in host memory;",
        "those of batch 8 are of another run, on another machine of the same kind):",
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
        *_memory(kept["first run"]["measured"]["memory"]),
        "",
        f"`benchmarks/inference/end_to_end.py`: {kept['machine']}, {kept['date']}.",
    ]


def _memory(memory: dict[str, Any]) -> list[str]:
    growth, calls = memory["growth"], memory["samples"][-1]["calls"]
    return [
        f"Growth over {calls:,} calls of one thread, on the first machine, before threads shared one for their calls: {growth['process']:.0f} MB in the process, {growth['gpu']:.0f} MB on the GPU."
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
    return [*rows, ["the fastest was", *(ways[size]["chosen"]["way"] for size in SIZES)]]


def _threads(kept: dict[str, Any]) -> list[str]:
    """Calls of threads that each wait for their own result; a run can lack some numbers of threads."""
    runs = kept["runs"]
    machines = [f"{letter}: {run['machine']}" for letter, run in zip(LETTERS, runs, strict=False)]
    return [
        "Calls per second of threads that each wait for their own result, on an image of 720p; *alone* is the engine only, at batch 1, with as many",
        "threads and the four contexts that calls have, and the shares are of it. With more than four calls at once, one thread runs and decodes them all,",
        "each image alone; images in GPU memory are prepared in the threads of their calls, since the current stream of other libraries belongs to a thread.",
        f"*Joined* is with `join_calls=8`. Machines: {'; '.join(machines)}.",
        "",
        *markdown(["threads", "machine", "alone", *MEMORIES, "device, joined", "pageable, joined"], _thread_rows(runs)),
        "",
        "Ways to share the engine, with 8 threads (`benchmarks/inference/thread_ways.py`). *One thread*: it also copies all images to page-locked memory;",
        "*they write*: each thread copies its image. A model does the first with images in host memory below 4 MiB, and the second with others. *Each thread*: every",
        "thread runs its own calls; *lock released*: and gives up the interpreter lock for every CUDA call:",
        "",
        *markdown(["way", "machine", *MEMORIES], _way_rows(runs)),
        "",
        *_thread_prose([run["measured"] for run in runs]),
        "",
        f"{kept['network']}; {kept['cpu']}, {kept['date']}.",
    ]


def _thread_rows(runs: list[dict[str, Any]]) -> list[list[Any]]:
    sides = [*(PRODUCT[memory] for memory in MEMORIES), "device, joined", "pageable, joined"]
    rows = []
    for count in sorted(
        {int(name.split()[0]) for run in runs for name in run["measured"] if name.endswith(" threads")}
    ):
        for number, run in zip(LETTERS, runs, strict=False):
            one = run["measured"].get(f"{count} threads")
            if one is not None:
                shares = (_share(one.get(side), one["alone"]) for side in sides)
                rows.append([count, number, f"{one['alone']:.0f}", *shares])
    return rows


def _way_rows(runs: list[dict[str, Any]]) -> list[list[Any]]:
    measured = [(number, run["measured"]["8 threads"]) for number, run in zip(LETTERS, runs, strict=False)]
    rows: list[list[Any]] = []
    for way in WAYS:
        for number, one in measured:
            rates = (_share(one.get(f"{memory}, {way}"), one["alone"]) for memory in MEMORIES)
            rows.append(["one thread" if way == "default" else way, number, *rates])
    for name in ("alone", "alone, 8 contexts"):
        rows += [
            [f"engine {name}", number, *[_share(one[name], one["alone"])] * len(MEMORIES)] for number, one in measured
        ]
    return rows


def _thread_prose(measured: list[dict[str, Any]]) -> list[str]:
    def shares(count: int, way: str, of: str = "alone", memories: tuple[str, ...] = MEMORIES) -> str:
        found = [one for run in measured if (one := run.get(f"{count} threads")) is not None]
        names = [PRODUCT[memory] if way == "default" else f"{memory}, {way}" for memory in memories]
        return _span([one[name] / one[of] for one in found for name in names if name in one])

    more = _span([run["8 threads"]["alone, 8 contexts"] / run["8 threads"]["alone"] for run in measured])
    wide = "alone, 8 contexts"
    host = ("pageable",)
    decoding = [run["decoding, us"] for run in measured]
    stages = [found for run in measured for name, found in run.items() if name.startswith("stages ")]
    slower = [one["8"][stage] / one["1"][stage] for one in stages for stage in STAGES]
    return [
        f"With 8 threads, calls reach {shares(8, 'default')} of the engine alone with four contexts, and {shares(8, 'default', wide)} of it with eight. If each thread runs its own calls, they reach {shares(8, 'each thread')}; if it also gives up the",
        f"interpreter lock for every CUDA call, as in earlier versions, {shares(8, 'each thread, lock released')}. With images in pageable memory,",
        f"other numbers of threads reach {shares(4, 'default', memories=host)} (4), {shares(6, 'default', memories=host)} (6) and {shares(16, 'default', memories=host)} (16).",
        "",
        f"With eight contexts (`TensorRTRunner(path, contexts=8)`), the engine alone reaches {more} times as much, and calls {shares(8, '8 contexts', wide)} of that:",
        f"the limit is then most likely Python, where one thread at a time holds the interpreter lock. Joined calls run less Python for an image: they reach {shares(8, 'joined', wide)} of the engine alone",
        f"with eight contexts and 8 threads, and {shares(16, 'joined', wide)} with 16. With images in pageable memory and",
        f"8 threads, joined calls reach {shares(8, 'joined', memories=host)} of the engine alone with four contexts, and the default {shares(8, 'default', memories=host)}.",
        "",
        f"In 8 threads that each run their own calls, the same Python takes more CPU time. Decoding takes {_span([one['8'] / one['1'] for one in decoding])} times as",
        f"long in threads that do nothing else as in one thread, and the stages of a call {_span(slower)} times.",
        "CPU time in us with 1 and with 8 threads, "
        + "; ".join(_stage_line(number, run) for number, run in zip(LETTERS, measured, strict=False))
        + ".",
    ]


def _stage_line(number: str, run: dict[str, Any]) -> str:
    def pair(one: float, eight: float) -> str:
        return f"{one:.0f} and {eight:.0f}"

    parts = [f"decoding and nothing else {pair(run['decoding, us']['1'], run['decoding, us']['8'])}"]
    for memory in MEMORIES:
        found = run.get(f"stages {memory}, us")
        if found is not None:
            steps = ", ".join(f"{stage} {pair(found['1'][stage], found['8'][stage])}" for stage in STAGES)
            parts.append(f"{memory} ({steps})")
    return f"machine {number}: {', '.join(parts)}"


def _span(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _share(rate: float | None, alone: float) -> str:
    return "" if rate is None else f"{rate:.0f} ({rate / alone:.2f})"


def _peers(measured: dict[str, Any]) -> list[list[Any]]:
    return [
        [*key.removeprefix("peers_").rsplit("_", 1), name, f"{one['p50']:.2f}"]
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
