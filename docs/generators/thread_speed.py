"""Calls of many threads, for the section on end-to-end speed of the measurements page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.results import markdown, read, with_tables

GUIDE = Path(__file__).parents[1] / "how-to" / "use-from-python.md"
MEMORIES = ("device", "pinned", "pageable")
STAGES = ("write", "start", "decode")
NEVER = 1000
COPIED = "alone, with copies"
SLACK = 1.2
HOST = MEMORIES[1:]
WAYS = {
    "default": ("**one thread**", MEMORIES),
    "one copies": ("one thread, which copies", ("pageable",)),
    "they write": ("they write", HOST),
    "each thread": ("each thread", MEMORIES),
    "each thread, lock released": ("each thread, lock released", MEMORIES),
    "8 contexts": ("**one thread**, 8 contexts", MEMORIES),
    "each thread, 8 contexts": ("each thread, 8 contexts", MEMORIES),
    "joined": ("joined", MEMORIES),
    "joined, one copies": ("joined, one copies", ("pageable",)),
}
"""Their names, and the memories with which they are not the same as another way."""


def guide() -> str:
    """The guide with an updated table of the shares of 8 threads."""
    return with_tables(GUIDE, {"threads": _shares_of_eight})


def _shares_of_eight() -> list[str]:
    kept = read("end_to_end_gpu")
    runs = _runs_of_eight(kept, read("thread_intervals"))
    alone = [one["alone"] for some in runs.values() for one in some]
    return [
        f"In runs of {kept['network'].partition(' (')[0]} in fp16 on H200s, 8 threads with images of 720p reached these shares of the engine, which alone, at batch 1 in the same four",
        f"contexts, makes {min(alone):,.0f} to {max(alone):,.0f} calls per second ([measurements](../reference/measurements.md#end-to-end-on-a-gpu)):",
        "",
        *_by_python(runs),
        "",
        "The limit is Python's interpreter lock. The Python 3.10 was compiled without optimizations, and most runs with it were of earlier versions.",
    ]


def _by_python(runs: dict[str, list[dict[str, float]]]) -> list[str]:
    rows = [
        [how, f"{python} ({_runs(some)})", *_shares(some, joined)]
        for how, joined in (("by default", ""), ("with `join_calls=8`", ", joined"))
        for python, some in runs.items()
    ]
    return markdown(["8 threads", "Python", "images in GPU memory", "page-locked", "pageable"], rows)


def _runs(some: list[Any]) -> str:
    return f"{len(some)} run{'s' if len(some) > 1 else ''}"


def _shares(runs: list[dict[str, float]], joined: str = "") -> list[str]:
    return [span([one[f"{memory}{joined}"] / one["alone"] for one in runs]) for memory in MEMORIES]


def _runs_of_eight(kept: dict[str, Any], intervals: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """With boxes sorted on the GPU, by the version of Python."""
    found: dict[str, list[dict[str, float]]] = {_version(kept): [kept["measured"]["threads_8"]]}
    for run in kept["other runs"]:
        found.setdefault(_version(run), []).append(run["threads_8"])
    turns = kept["8 threads in turns"]
    found.setdefault(_version(turns), []).extend(turns["boxes sorted"])
    for run in intervals["runs"]:
        found.setdefault(_version(intervals), []).append(_usual(run["8 threads"]))
    return found


def _version(run: dict[str, Any]) -> str:
    return ".".join(run["python"].split(".")[:2])


def threads_of_run(kept: dict[str, Any], intervals: dict[str, Any]) -> list[str]:
    """Calls of threads in the main run; ``intervals``: by the interval of the interpreter lock."""
    measured, turns = kept["measured"], kept["8 threads in turns"]
    found = {int(name.removeprefix("threads_")): one for name, one in measured.items() if name.startswith("threads_")}
    sides = [COPIED, *MEMORIES, *(f"{memory}, joined" for memory in MEMORIES)]
    rows = [
        [count, f"{one['alone']:.0f}", *(_share(one[side], one["alone"]) for side in sides)]
        for count, one in sorted(found.items())
    ]
    eight, now = found[8], _runs_of_eight(kept, intervals)
    earlier = [*turns["before"], *(run["threads_8"] for run in kept["before"])]

    def gains(joined: str = "") -> str:
        pairs = zip(turns["before"], turns["boxes sorted"], strict=True)
        return span([new[f"{memory}{joined}"] / old[f"{memory}{joined}"] for old, new in pairs for memory in MEMORIES])

    return [
        "Calls per second of threads that each wait for their own result, on an image of 720p (medians of three turns). *Alone* is the engine only, at batch 1, with as many",
        "threads and with four contexts, the default of a model; the shares are of it. *With copies*, each of these threads also copies an image to page-locked memory,",
        "from where it is sent to the GPU, as a program without adaptrt would do with images in pageable memory. *Joined* is with `join_calls=8`:",
        "",
        *markdown(["threads", "alone", "with copies", *sides[1:]], rows),
        "",
        f"A share can be more than 1: *alone*, 8 threads of Python share the contexts, while one thread runs all calls with images. {_copied(found)}",
        "",
        f"The project's target is that 8 threads make at least {1 / SLACK:.2f} times as many calls as with the engine alone: {_met(eight)}. The shares of 8 threads in runs",
        f"on H200s, this one and others, of which those below {1 / SLACK:.2f} miss it:",
        "",
        *_by_python(now),
        "",
        "The limit with images in pageable memory is Python's interpreter lock. The Python 3.10 was compiled without optimizations, and most runs with it were of earlier versions.",
        "",
        "Before boxes left the GPU sorted, with their scores and classes, NumPy selected and sorted them for each call. In turns on one",
        f"machine, 8 threads made {gains()} times as many calls with sorted boxes, and {gains(', joined')} times with joined calls. The shares in {_runs(earlier)} before:",
        "",
        *_by_python({_version(turns): earlier}),
        "",
        f"`sys.setswitchinterval(0.001)`, with which a thread that waits for Python's interpreter lock asks for it after 1 instead of 5 ms, makes no clear difference: {span(_gains_of_intervals(intervals))} times as",
        f"many calls (`benchmarks/inference/thread_intervals.py`; {intervals['machine']}, {intervals['date']}).",
    ]


def _met(eight: dict[str, float]) -> str:
    """Which memories meet the target of 8 threads, each image alone and joined."""
    names = dict(zip(MEMORIES, ("GPU", "page-locked", "pageable"), strict=True))
    parts = []
    for memory, name in names.items():
        own, joined = (eight[f"{memory}{how}"] / eight["alone"] for how in ("", ", joined"))
        parts.append(f"{name} memory {_said(own)}, joined {_said(joined)}")
    return "; ".join(parts)


def _said(share: float) -> str:
    return f"{share:.2f} ({'met' if share >= 1 / SLACK else '**missed**'})"


def _copied(found: dict[int, dict[str, float]]) -> str:
    """Calls with images in pageable memory as a multiple of the engine with copies, by threads."""
    counts, times = zip(
        *((str(count), f"{one['pageable'] / one[COPIED]:.2f}") for count, one in sorted(found.items())), strict=True
    )
    return f"With images in pageable memory, {_listed(counts)} threads make {_listed(times)} times as many calls as *with copies*."


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _usual(found: dict[str, float]) -> dict[str, float]:
    """Calls with Python's own interval, by the names of ``end_to_end``."""
    rates = {f"{memory}, joined": found[f"joined, {memory}, 5 ms"] for memory in MEMORIES}
    return rates | {memory: found[f"default, {memory}, 5 ms"] for memory in MEMORIES} | {"alone": found["alone, 5 ms"]}


def _gains_of_intervals(kept: dict[str, Any]) -> list[float]:
    return [
        found[f"{how}, {memory}, 1 ms"] / found[f"{how}, {memory}, 5 ms"]
        for found in (run["8 threads"] for run in kept["runs"])
        for how in ("default", "joined")
        for memory in MEMORIES
    ]


def ways_to_share(kept: dict[str, Any]) -> list[str]:
    """Who runs the calls of many threads, and who copies their images."""
    (run,) = kept["runs"]
    measured = run["measured"]
    eight = measured["8 threads"]
    return [
        f"Ways to share the engine, with 8 threads (`benchmarks/inference/thread_ways.py`). Measured before boxes left the GPU sorted, with an engine of optimization {kept['network'].rpartition(', ')[2]},",
        "which is slower. With more than four calls at once, a model has **one thread** that runs and decodes them all, each image alone; the thread of a call copies an image in",
        "pageable memory of 256 KiB to 4 MiB to page-locked memory, and prepares an image in GPU memory, since the current stream of other libraries belongs to a thread. *They write*: each",
        "thread copies what the GPU needs of its image, as with larger images. *Each thread*: every thread runs its own calls; *lock released*: and gives up the interpreter lock for every CUDA call.",
        f"One thread that copies too made {eight['pageable, one copies'] / eight['pageable, default']:.2f} times as many calls here. Calls that do the same under two names differ by up to 3 %:",
        "",
        *markdown(["way", *MEMORIES], _way_rows(eight)),
        "",
        f"With eight contexts (`TensorRTRunner(path, contexts=8)`), the engine alone makes {eight['alone, 8 contexts']:.0f} instead of {eight['alone']:.0f} calls per second, of which their shares are.",
        *_stages(measured),
        "",
        *_in_turn(measured["in turn"]),
        "",
        f"{kept['network']}; {run['machine']}, {kept['date']}.",
    ]


def _way_rows(eight: dict[str, float]) -> list[list[Any]]:
    return [
        [
            name,
            *(_share(eight[f"{memory}, {way}"], _alone(eight, way)) if memory in differ else "" for memory in MEMORIES),
        ]
        for way, (name, differ) in WAYS.items()
    ]


def _alone(eight: dict[str, float], way: str) -> float:
    """The engine alone, in as many contexts."""
    return eight["alone, 8 contexts" if way.endswith("8 contexts") else "alone"]


def _stages(measured: dict[str, Any]) -> list[str]:
    decoding = measured["decoding, us"]
    stages = [found for name, found in measured.items() if name.startswith("stages ")]
    slower = [one["8"][stage] / one["1"][stage] for one in stages for stage in STAGES]
    return [
        f"In 8 threads that each run their own calls, the same Python takes more CPU time: decoding {decoding['8'] / decoding['1']:.2f} times as",
        f"long in threads that do nothing else as in one thread, and the stages of a call {span(slower)} times.",
    ]


def span(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _share(rate: float, alone: float) -> str:
    return f"{rate:.0f} ({rate / alone:.2f})"


def _in_turn(counts: dict[str, Any]) -> list[str]:
    """When a thread that waits for a context gets one before others."""
    rows = [
        [count, _seconds(seconds), f"{one['rate']:.0f}", f"{one['longest']:.0f}", f"{one['fewest']:.2f}"]
        for count, times in sorted(counts.items(), key=lambda pair: int(pair[0]))
        for seconds, one in times.items()
    ]
    return [
        "More threads than contexts that call the engine themselves (`runner.run`): a released context can be taken at once, by the thread that released it, unless",
        "another one has waited for *ms*, which then gets it. With 0, a context rests each time until a thread has woken up; without a limit, four threads",
        "keep the contexts. adaptrt's limit is 20 ms. *Fewest*: calls of the thread that made fewest, as a share of the mean:",
        "",
        *markdown(["threads", "ms", "calls per second", "longest call, ms", "fewest"], rows),
    ]


def _seconds(text: str) -> str:
    return "no limit" if float(text) >= NEVER else f"{1000 * float(text):.0f}"
