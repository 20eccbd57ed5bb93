"""Calls of many threads, for the section on end-to-end speed of the measurements page."""

from __future__ import annotations

from typing import Any

from benchmarks.common.results import markdown

MEMORIES = ("device", "pinned", "pageable")
STAGES = ("write", "start", "decode")
NEVER = 1000
PRODUCT = {"device": "device, they write", "pinned": "pinned, default", "pageable": "pageable, default"}
"""What a model does with an image of 720p."""
SIDES = {
    **PRODUCT,
    "pageable, one copies": "pageable, one copies",
    "device, joined": "device, joined",
    "pageable, joined": "pageable, joined",
    "pageable, joined, one copies": "pageable, joined, one copies",
}
LETTERS = "ABCDEFGH"
WAYS = (
    "default",
    "one copies",
    "they write",
    "each thread",
    "each thread, lock released",
    "8 contexts",
    "each thread, 8 contexts",
    "joined",
    "joined, one copies",
)
NAMES = {"default": "one thread", "one copies": "one thread, which copies"}
SAME_AS = {
    "default, pageable": PRODUCT["pageable"],
    "default, one copies": "pageable, one copies",
    "default, page-locked": PRODUCT["pinned"],
    "joined, pageable": "pageable, joined",
    "joined, one copies": "pageable, joined, one copies",
    "joined, page-locked": "pinned, joined",
}
"""Names of ``thread_copies`` to those of ``thread_ways``."""


def threads_of_run(
    measured: dict[str, Any],
    turns: dict[str, list[dict[str, float]]],
    before: list[dict[str, Any]],
    others: list[dict[str, Any]],
) -> list[str]:
    """Calls of threads in the main run. ``turns``: calls of 8 threads on that machine with an earlier version and this one, in turns;
    ``before``: those of threads with the same engine and earlier versions, on other machines; ``others``: runs of ``thread_intervals``."""
    found = {int(name.removeprefix("threads_")): one for name, one in measured.items() if name.startswith("threads_")}
    sides = [*MEMORIES, *(f"{memory}, joined" for memory in MEMORIES)]
    rows = [
        [count, f"{one['alone']:.0f}", *(_share(one[side], one["alone"]) for side in sides)]
        for count, one in sorted(found.items())
    ]
    eight, now = found[8], [found[8], *turns["now"], *(_usual(run["8 threads"]) for run in others)]
    earlier = [*turns["before"], *(run["threads_8"] for run in before)]
    names, alone = ["GPU", "page-locked", "pageable"], [one["alone"] for one in now]

    def shares(some: list[dict[str, float]], joined: str = "") -> str:
        spans = [_span([one[f"{memory}{joined}"] / one["alone"] for one in some]) for memory in MEMORIES]
        return ", ".join(f"{span} with images in {name} memory" for span, name in zip(spans, names, strict=True))

    gains = [new[side] / old[side] for old, new in zip(turns["before"], turns["now"], strict=True) for side in MEMORIES]
    return [
        "Calls per second of threads that each wait for their own result, on an image of 720p; *alone* is the engine only, at batch 1, with as many",
        "threads and four contexts, as many as a model has by default, and the shares are of it. *Joined* is with `join_calls=8`. In the run above:",
        "",
        *markdown(["threads", "alone", *sides], rows),
        "",
        f"With 8 threads, the engine alone makes {eight['alone']:.0f} calls per second, {1e6 / eight['alone']:.0f} us a call, and {min(alone):.0f} to {max(alone):.0f} in {len(now)} runs on this machine, whose shares are {shares(now)};",
        f"joined, {shares(now, ', joined')}. Before boxes left the GPU sorted, with their scores and classes, NumPy selected and sorted",
        f"them for each call, and 8 threads were limited by the interpreter lock: in turns on this machine, they now make {_span(gains)} times as many calls. The shares of {len(earlier)} runs before, also on other machines:",
        f"{shares(earlier)}; joined, {shares(earlier, ', joined')}.",
    ]


def _usual(found: dict[str, float]) -> dict[str, float]:
    """Calls with Python's own interval, by the names of ``end_to_end``."""
    rates = {f"{memory}, joined": found[f"joined, {memory}, 5 ms"] for memory in MEMORIES}
    return rates | {memory: found[f"default, {memory}, 5 ms"] for memory in MEMORIES} | {"alone": found["alone, 5 ms"]}


def intervals(kept: dict[str, Any]) -> list[str]:
    """Calls of 8 threads, by the interval of Python's interpreter lock."""
    steps = (5, 1, 0.5)
    rows, gains = [], []
    for run in kept["runs"]:
        found = run["8 threads"]
        for side in (f"{how}, {memory}" for how in ("default", "joined") for memory in MEMORIES):
            rates = [found[f"{side}, {step:g} ms"] for step in steps]
            shares = [_share(rate, found["alone, 5 ms"]) for rate in rates]
            rows.append([run["numpy"], side.removeprefix("default, "), *shares])
            gains.append(rates[1] / rates[0])
    rates = [f"{run['8 threads']['alone, 5 ms']} with NumPy {run['numpy']}" for run in kept["runs"]]
    return [
        "A thread that waits for Python's interpreter lock asks for it after 5 ms. With `sys.setswitchinterval(0.001)`, which applies to the whole program, it asks after 1 ms, and 8 threads made",
        f"{min(gains):.2f} to {max(gains):.2f} times as many calls (`benchmarks/inference/thread_intervals.py`; calls per second, in parentheses the share of the engine alone, {' and '.join(rates)}):",
        "",
        *markdown(["NumPy", "images", *(f"{step:g} ms" for step in steps)], rows),
        "",
        f"{kept['machine']}, {kept['date']}.",
    ]


def threads(kept: dict[str, Any], copies: dict[str, Any]) -> list[str]:
    """Calls of threads that each wait for their own result; a run can lack some numbers of threads."""
    runs = kept["runs"]
    letters: dict[str, list[str]] = {}
    for letter, run in zip(LETTERS, runs, strict=False):
        letters.setdefault(run["machine"], []).append(letter)
    said = "; ".join(f"{', '.join(some)}: {machine}" for machine, some in letters.items())
    return [
        f"The same on other machines, with an engine of {kept['network'].rpartition(', ')[2]}, which is slower, before boxes left the GPU sorted. With more than four calls at once, one thread runs and decodes them all,",
        "each image alone; images in GPU memory are prepared in the threads of their calls, since the current stream of other libraries belongs to a thread.",
        "Each thread copies its image in pageable memory to page-locked memory, if it has 256 KiB or more and less than 4 MiB; when A to C were measured, the thread",
        "that runs the calls did (*one copies*), as well as with eight contexts below. On A and B, a released context could always be taken",
        "at once; on C and D, not after a thread has waited for 20 ms (the fourth table). With four threads or fewer, each runs its own calls; then *one copies* copies only",
        "the rows that the GPU needs, with the help of other threads. On D, threads also copied where two call at once, as they do now where three or four do.",
        f"With `join_calls=8`, the thread of a batch copies images of 4 MiB and more. Machines {said}.",
        "",
        *markdown(["threads", "machine", "alone", *SIDES], _thread_rows(runs)),
        "",
        "Ways to share the engine, with 8 threads (`benchmarks/inference/thread_ways.py`). *One thread*: it runs the calls of all threads, and on A to C it prepared images in GPU memory.",
        "*They write*: each thread copies what the GPU needs of its image, as with images of 4 MiB and more. *Each thread*: every thread runs its own calls;",
        "*lock released*: and gives up the interpreter lock for every CUDA call:",
        "",
        *markdown(["way", "machine", *MEMORIES], _way_rows(runs)),
        "",
        *_thread_prose(
            [run["measured"] for run in runs], [_as_ways(run["measured"]) for run in _copy_runs(copies, runs)]
        ),
        "",
        *_copies(copies, runs),
        "",
        *_in_turn(runs),
        "",
        f"{kept['network']}; {kept['cpu']}, {kept['date']}.",
    ]


def _thread_rows(runs: list[dict[str, Any]]) -> list[list[Any]]:
    rows = []
    for count in sorted(
        {int(name.split()[0]) for run in runs for name in run["measured"] if name.endswith(" threads")}
    ):
        for number, run in zip(LETTERS, runs, strict=False):
            one = run["measured"].get(f"{count} threads")
            if one is not None:
                shares = (_share(one.get(side), one["alone"]) for side in SIDES.values())
                rows.append([count, number, f"{one['alone']:.0f}", *shares])
    return rows


def _way_rows(runs: list[dict[str, Any]]) -> list[list[Any]]:
    measured = [(number, run["measured"]["8 threads"]) for number, run in zip(LETTERS, runs, strict=False)]
    rows: list[list[Any]] = []
    for way in WAYS:
        for number, one in measured:
            rates = (_share(one.get(f"{memory}, {way}"), one["alone"]) for memory in MEMORIES)
            rows.append([NAMES.get(way, way), number, *rates])
    for name in ("alone", "alone, 8 contexts"):
        rows += [
            [f"engine {name}", number, *[_share(one[name], one["alone"])] * len(MEMORIES)] for number, one in measured
        ]
    return rows


def _thread_prose(measured: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[str]:
    def shares(count: int, way: str, of: str = "alone", memories: tuple[str, ...] = MEMORIES) -> str:
        found = [one for run in (*measured, *others) if (one := run.get(f"{count} threads")) is not None]
        names = [PRODUCT[memory] if way == "default" else f"{memory}, {way}" for memory in memories]
        return _span([one[name] / one[of] for one in found for name in names if name in one])

    more = _span([run["8 threads"]["alone, 8 contexts"] / run["8 threads"]["alone"] for run in (*measured, *others)])
    wide = "alone, 8 contexts"
    host = ("pageable",)
    decoding = [run["decoding, us"] for run in measured]
    stages = [found for run in measured for name, found in run.items() if name.startswith("stages ")]
    slower = [one["8"][stage] / one["1"][stage] for one in stages for stage in STAGES]
    return [
        f"With 8 threads, calls reach {shares(8, 'default', memories=('device',))} of the engine alone with four contexts for images in GPU memory, {shares(8, 'default', memories=('pinned',))} in page-locked memory, and {shares(8, 'default', memories=host)}",
        f"in pageable memory ({shares(8, 'one copies', memories=host)} if one thread copies); of the engine alone with eight contexts, all reach {shares(8, 'default', wide)}. If each thread runs its own calls, they reach {shares(8, 'each thread')} of the engine with four; if it also gives up the",
        f"interpreter lock for every CUDA call, as in earlier versions, {shares(8, 'each thread, lock released')}. With images in pageable memory,",
        f"other numbers of threads reach {shares(4, 'default', memories=host)} (4) and {shares(16, 'default', memories=host)} (16), or {shares(4, 'one copies', memories=host)} and {shares(16, 'one copies', memories=host)} if one thread copies.",
        "",
        f"With eight contexts (`TensorRTRunner(path, contexts=8)`), the engine alone reaches {more} times as much, and calls {shares(8, '8 contexts', wide)} of that:",
        "the limit is then most likely Python, where one thread at a time holds the interpreter lock. Joined calls run less Python for an image: with 8 threads, they reach",
        f"{shares(8, 'joined', memories=('device', 'pinned'))} of the engine alone with four contexts for images in GPU or page-locked memory and {shares(8, 'joined', memories=host)} in pageable memory ({shares(8, 'joined, one copies', memories=host)} if the thread of a batch copies),",
        f"and with 16 threads {shares(16, 'joined', memories=('device', 'pinned'))} and {shares(16, 'joined', memories=host)} ({shares(16, 'joined, one copies', memories=host)}).",
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


def _copy_runs(kept: dict[str, Any], ways: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With their letters. On the first, the thread that runs calls also copied, except for images of 1080p one by one."""
    runs = [dict(run, letter=letter) for letter, run in zip(LETTERS[len(ways) :], kept["runs"], strict=False)]

    def named(name: str, way: str) -> str:
        return way if name.startswith("1080p") and way.startswith("default") else way.replace("pageable", "one copies")

    runs[0]["measured"] = {
        name: {named(name, way): one for way, one in found.items()} for name, found in runs[0]["measured"].items()
    }
    return runs


def _as_ways(measured: dict[str, Any]) -> dict[str, Any]:
    """Those of images of 720p, as ``thread_ways`` has them."""
    return {
        name.removeprefix("720p, "): {SAME_AS.get(way, way): one for way, one in found.items()}
        for name, found in measured.items()
        if name.startswith("720p")
    }


def _copies(kept: dict[str, Any], ways: list[dict[str, Any]]) -> list[str]:
    """Who copies images in pageable memory."""
    sides = [
        f"{calls}, {memory}"
        for calls in ("default", "joined")
        for memory in ("pageable", "one copies", "copied", "page-locked")
    ]
    names = ["alone", "alone, 8 contexts", *sides]
    runs = _copy_runs(kept, ways)
    rows = [
        [run["letter"], *name.removesuffix(" threads").split(", "), *(f"{one.get(way, '')}" for way in names)]
        for run in runs
        for name, one in sorted(run["measured"].items(), key=lambda found: _size_and_count(found[0]))
    ]

    def gain(calls: str) -> str:
        """With images of 720p."""
        measured = [one for name, one in runs[0]["measured"].items() if name.startswith("720p")]
        return _span([one[f"{calls}, copied"] / one[f"{calls}, one copies"] for one in measured])

    def threads_copy(way: str) -> str:
        """In the runs with both, and more threads than run their own calls."""
        names = f"pageable, {way}", f"pageable, {way}, one copies".replace("default, ", "")
        every = [*(run["measured"] for run in ways), *(_as_ways(run["measured"]) for run in runs)]
        found = [one for measured in every for count in (6, 8, 16) if (one := measured.get(f"{count} threads"))]
        return _span([one[names[0]] / one[names[1]] for one in found if all(name in one for name in names)])

    said = "; ".join(f"{run['letter']}: {run['machine']}, {run['date']}" for run in runs)
    return [
        "Whether each thread copies its image, to memory that is kept for the next call, or the thread that runs the calls copies them, changes little on an H100: it is",
        f"{threads_copy('default')} times as fast, and {threads_copy('joined')} times with joined calls (D and {runs[-1]['letter']}, with 8 and 16 threads). On an H200, images that the threads had copied before their calls (*copied*) were",
        f"{gain('default')} and {gain('joined')} times as fast as those that the thread that runs them copied ({runs[0]['letter']}; calls per second, `benchmarks/inference/thread_copies.py`):",
        "",
        *markdown(["machine", "images", "threads", *names], rows),
        "",
        f"{kept['network']}; {said}.",
    ]


def _size_and_count(name: str) -> tuple[int, int]:
    """Of a name such as ``720p, 8 threads``, to sort by."""
    size, count = name.removesuffix(" threads").split(", ")
    return int(size.removesuffix("p")), int(count)


def _in_turn(runs: list[dict[str, Any]]) -> list[str]:
    """When a thread that waits for a context gets one before others."""
    found = [
        (number, run["measured"]["in turn"])
        for number, run in zip(LETTERS, runs, strict=False)
        if "in turn" in run["measured"]
    ]
    rows = [
        [count, number, _seconds(seconds), f"{one['rate']:.0f}", f"{one['longest']:.0f}", f"{one['fewest']:.2f}"]
        for number, counts in found
        for count, times in sorted(counts.items(), key=lambda pair: int(pair[0]))
        for seconds, one in times.items()
    ]
    return [
        "More threads than contexts that call the engine themselves (`runner.run`): a released context can be taken at once, by the thread that released it, unless",
        "another one has waited for *ms*, which then gets it. With 0, a context rests each time until a thread has woken up; without a limit, four threads",
        "keep the contexts. adaptrt's limit is 20 ms. *Fewest*: calls of the thread that made fewest, as a share of the mean:",
        "",
        *markdown(["threads", "machine", "ms", "calls per second", "longest call, ms", "fewest"], rows),
    ]


def _seconds(text: str) -> str:
    return "no limit" if float(text) >= NEVER else f"{1000 * float(text):.0f}"
