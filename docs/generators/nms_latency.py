"""The section on NMS in the graph of the measurements page."""

from __future__ import annotations

from typing import Any

from benchmarks.common.results import FOLDER, markdown, read
from sections import section

RESULT = "nms_latency"
TITLES = {
    "none": "without NMS",
    "cluster": "`--nms`",
    "efficient": "`--nms efficient`",
    "onnx": "`--nms onnx`",
}


MATRIX = {"detect_nms": "cluster", "detect_nms_efficient": "efficient", "detect_nms_onnx": "onnx"}
"""The model's name in the matrix of detectors, and the kind of NMS."""


def completed(rows: list[list[str]]) -> list[list[str]]:
    """The rows of the matrix of detectors: those with NMS in the graph have the times of this section, and rows that the matrix lacks
    are added. A row is model, precision, level, card, verdict, two scores and three times."""
    if not (FOLDER / f"{RESULT}.json").exists():
        return rows
    kept = read(RESULT)
    found = {(row[0], row[1]): list(row) for row in rows}
    for name, kind in MATRIX.items():
        for precision in ("fp16", "fp32"):
            timed = [kept.get(f"time_{precision}_{batch}") for batch in (1, 8, 32)]
            one = kept.get(f"convert_{kind}_{precision}")
            if one is None or "failed" in one or not all(timed):
                continue
            first = timed[0]
            place = [first["level"], first["gpu"].removeprefix("NVIDIA ").split()[0]]
            row = found.setdefault((name, precision), [name, precision, *place, one["verdict"], "", "", "", "", ""])
            if row[2:4] == place:
                row[7:] = [f"{batch['kinds'][kind]['p50']:.0f}" for batch in timed]
    return sorted(found.values(), key=lambda row: (row[0], row[1]))


def nms_latency() -> list[str]:
    """Latency of each kind beside the engine without; empty before it was measured."""
    if not (FOLDER / f"{RESULT}.json").exists():
        return []
    kept = read(RESULT)
    timed = {name: one for name, one in kept.items() if name.startswith("time_")}
    rows = []
    for name in sorted(timed, key=lambda key: (key.split("_")[1], int(key.split("_")[2]))):
        one, (_, precision, batch) = timed[name], name.split("_")
        rows.append([precision, one["level"], batch, *(_beside(one["kinds"], kind) for kind in TITLES)])
    first = next(iter(timed.values()))
    found = [count for one in timed.values() for count in one["detections"].values()]
    converted = {name.removeprefix("convert_"): one for name, one in kept.items() if name.startswith("convert_")}
    verdicts = sorted({one["verdict"] or "not verified" for one in converted.values() if "failed" not in one})
    failed = [
        f"- {TITLES[name.rpartition('_')[0]]}, {name.rpartition('_')[2]}: no engine; {_reason(one['failed'])}"
        for name, one in converted.items()
        if "failed" in one
    ]
    lines = [
        f"YOLOv5n (trained fixture) at {first['size'][0]} x {first['size'][1]} on {first['gpu'].removeprefix('NVIDIA ')}, {first['backend'].split(' (')[0]}, tactic sources",
        f"{first['tactic_sources']}. Microseconds (p50) of one call on drawn images in device memory, all engines in turns; in parentheses, what NMS adds.",
        f"The engines return {min(found):.0f} to {max(found):.0f} objects an image on average. Verdicts: {', '.join(verdicts)}.",
        f"Engines of level 0 are not tuned for speed. {_machines(kept.get('runs', {}))}",
        "",
        *markdown(["precision", "level", "batch", *TITLES.values()], rows),
        *(["", *failed] if failed else []),
    ]
    return section("NMS in the graph", "detectors/nms_latency", lines, None)


def _machines(runs: dict[str, Any]) -> str:
    """A sentence on precisions that were measured on different machines."""
    if len(runs) < 2:
        return ""
    each = "; ".join(
        f"{precision}: {one['gpu'].removeprefix('NVIDIA ')}, {one['date']}" for precision, one in sorted(runs.items())
    )
    return f"The precisions were measured on different machines ({each}): compare times of one precision."


def _beside(kinds: dict[str, Any], kind: str) -> str:
    if kind not in kinds:
        return "not measured"
    own = kinds[kind]["p50"]
    return f"{own:.0f}" if kind == "none" or "none" not in kinds else f"{own:.0f} (+{own - kinds['none']['p50']:.0f})"


def _reason(text: str) -> str:
    """The message of the last error in the output of a command."""
    lines = [line for line in text.strip().splitlines() if line.startswith("Error: ")]
    return lines[-1].removeprefix("Error: ") if lines else text.strip()[-300:]
