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
    names = {
        "one address": "at one address",
        "another address each time": "at another address in each call",
        "without graphs": "at another address in each call, without CUDA graphs",
    }
    moving = kept["moving"]
    found = moving["inputs"]
    inputs = [[text, *(f"{found[key][part]:.0f}" for part in ("p50", "p90", "p99"))] for key, text in names.items()]
    size, before = found["bytes"] / 2**20, kept["before"]["another address each time"]
    moved = round(found["another address each time"]["p50"]) - round(found["one address"]["p50"])
    return [
        "## Many engines in one process",
        "",
        "The graph of YOLOv5n fp16 at batch 1 on a device array (microseconds of a call), while more engines are open in the process:",
        "",
        *markdown(["beside", "engines", "p50", "p90", "p99"], rows),
        "",
        f"Beside other engines it takes {min(beside):.0f} to {max(beside):.0f} us, alone {first:.0f} at the start of the run and {last:.0f} at its end, when all others",
        f"were closed: it takes {min(beside) - first:.0f} to {max(beside) - first:.0f} us more than at the start, and {min(beside) - last:.0f} to {max(beside) - last:.0f} us more than at the end. Engines with a graph, and engines called",
        f"in between, do not cost more the more there are; those that were never called cost {min(idle):.0f} to {max(idle):.0f} us. As many streams and captured graphs without an engine",
        "cost little. The cause was not found.",
        "",
        f"`benchmarks/gpu/many_engines.py`: {kept['machine']}, {kept['date']}.",
        "",
        f"An input that is at another address in each call is copied on the device ({size:.1f} MiB, {moved} us) before the graph is launched, which the",
        "runtime found to be faster than an enqueue. When there are more addresses than graphs, one gets its own graph only when its copies have cost as much as the capture, so",
        f"that p99 is not the time of a capture (before, it was {before['p99']:.0f} us, on an H100):",
        "",
        *markdown(["input", "p50", "p90", "p99"], inputs),
        "",
        f"`benchmarks/gpu/many_engines.py`: {moving['machine']}, {moving['date']}.",
    ]
