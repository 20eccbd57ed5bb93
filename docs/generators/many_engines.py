"""The section on many engines in one process, and on inputs that move, of the measurements page."""

from __future__ import annotations

from benchmarks.common.results import markdown, read


def many_engines() -> list[str]:
    kept = read("gpu_many_engines")
    measured = kept["measured"]
    rows = [
        [one["beside"], one["engines"] or "", *(f"{one[part]:.0f}" for part in ("p50", "p90", "p99"))]
        for one in measured["beside"]
    ]
    medians = {one["beside"]: one["p50"] for one in measured["beside"]}
    first, last = medians["nothing"], medians["nothing again"]
    beside = [one["p50"] for one in measured["beside"] if one["beside"].startswith("engines")]
    idle = [one["p50"] for one in measured["beside"] if one["beside"] == "engines that were never called"]
    bare = next(one for one in measured["beside"] if one["beside"].startswith("idle streams"))
    names = {
        "one address": "at one address",
        "another address each time": "at another address in each call",
        "without graphs": "at another address in each call, without CUDA graphs",
    }
    moving = kept["moving"]
    found = moving["inputs"]
    inputs = [[text, *(f"{found[key][part]:.0f}" for part in ("p50", "p90", "p99"))] for key, text in names.items()]
    size, before = found["bytes"] / 2**20, kept["before"]["another address each time"]
    copied, without = (found[key]["p50"] for key in ("another address each time", "without graphs"))
    moved = round(found["another address each time"]["p50"]) - round(found["one address"]["p50"])
    return [
        "## Many engines in one process",
        "",
        "The graph of YOLOv5n fp16 at batch 1 on a device array (microseconds of a call), while more engines are open in the process:",
        "",
        *markdown(["beside", "engines", "p50", "p90", "p99"], rows),
        "",
        f"Beside other engines, a call takes {min(beside):.0f} to {max(beside):.0f} us. Alone, it takes {first:.0f} us at the start of the run, and {last:.0f} us at its end, when all others have been",
        f"closed. The difference is {min(beside) - first:.0f} to {max(beside) - first:.0f} us from the start, and {min(beside) - last:.0f} to {max(beside) - last:.0f} us from the end. It does not grow with the number of engines that have a graph or are",
        f"called in between. Beside engines that were never called, a call takes {min(idle):.0f} to {max(idle):.0f} us. {bare['engines']} streams with a captured graph each, without an engine, add {bare['p50'] - first:.0f} us.",
        "The cause was not found.",
        "",
        f"`benchmarks/gpu/many_engines.py`: {kept['machine']}, {kept['date']}.",
        "",
        f"If an input is at another address in each call, it is copied on the device ({size:.1f} MiB) before the graph is launched, which adds {moved} us; without CUDA graphs,",
        f"a call takes {without / copied:.1f} times as long. If there are more addresses than graphs, an address gets its own graph only when its copies have cost as much as a capture.",
        f"Before this rule, captures made p99 {before['p99']:.0f} us (on an H100):",
        "",
        *markdown(["input", "p50", "p90", "p99"], inputs),
        "",
        f"`benchmarks/gpu/many_engines.py`: {moving['machine']}, {moving['date']}.",
    ]
