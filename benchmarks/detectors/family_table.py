"""The results of the family folders, and what they say about each: results/mmdet_families.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.results import FOLDER, machine

RESULT = FOLDER / "mmdet_families.json"
NOT_EXPORTED = ("GHMC", "GHMR", "BatchFixedSizePad", "BatchSyncRandomResize")


def exported(parts: Iterable[str]) -> set[str]:
    """Without the classes of losses and of what prepares images."""
    return {part for part in parts if not part.endswith(("Loss", "DataPreprocessor")) and part not in NOT_EXPORTED}


def passed_networks(kept: Mapping[str, Any]) -> dict[str, set[str]]:
    """The parts of all networks whose conversion passed, by the folder; a folder's network wins over a compared one."""
    found = {one["folder"]: exported(one["parts"]) for one in kept.get("compared", {}).values()}
    for name, one in kept["folders"].items():
        if one.get("converted", {}).get("passed"):
            found[name] = exported(one["parts"]) | found.get(name, set())
    return found


def covered(kept: Mapping[str, Any]) -> set[str]:
    """The parts of all networks whose conversion passed."""
    return {part for parts in passed_networks(kept).values() for part in parts}


def cover(wanted: set[str], networks: Mapping[str, set[str]]) -> list[str]:
    """Few networks that have all the wanted parts between them, the one with most of them first."""
    chosen: list[str] = []
    left = set(wanted)
    while left:
        best = max(sorted(networks), key=lambda name: len(left & networks[name]))
        if not left & networks[best]:
            break
        chosen.append(best)
        left -= networks[best]
    return chosen


def not_converted(kept: Mapping[str, Any], *, again: bool = False) -> list[str]:
    """Folders whose conversion was not run: those with the most parts that no converted one has first. ``again``: or failed."""
    known = covered(kept)
    left = {
        name: len(exported(one.get("parts", ())) - known)
        for name, one in kept["folders"].items()
        if one["verdict"] != "no model"
        and (not was_run(one) or (again and one["verdict"] == "accepted" and not one["converted"]["passed"]))
    }
    return sorted(left, key=lambda name: -left[name])


def was_run(one: Mapping[str, Any]) -> bool:
    """Whether its conversion was run, and compared with mmdet's own predict or refused."""
    done = one.get("converted")
    return done is not None and (not done["passed"] or "0" in done["links"])


def verdict(name: str, kept: Mapping[str, Any]) -> tuple[str, str]:
    """A word and its reason, for the table."""
    one = kept["folders"][name]
    done = one.get("converted")
    if done is not None and done["passed"]:
        size = " x ".join(map(str, done["size"]))
        graph = f"{done['nodes']} nodes at {size}" + (f", opset {done['opset']}" if done["opset"] else "")
        if one.get("kind") == "queries":
            graph += "".join(f", {key}={value}" for key, value in done.get("changes", {}).items())
        if done["links"].get("0") == "passed" and done["boxes"]:
            return "compared", f"{done['boxes']} boxes as in mmdet's own predict; {graph}"
        missing = done.get("without mmdet", "")
        return "converted", graph + (f"; not compared with mmdet's own predict: {missing}" if missing else "")
    if one["verdict"] != "accepted":
        return one["verdict"], (done or {}).get("reason", one["reason"])
    if done is not None:
        failed = [number for number, status in done.get("links", {}).items() if status != "passed"]
        return "fails", done["reason"] if "reason" in done else f"not passed: links {', '.join(failed)}"
    own = exported(one["parts"])
    networks = passed_networks(kept)
    compared = next((config for config, entry in kept.get("compared", {}).items() if entry["folder"] == name), None)
    if compared is not None:
        return "compared", f"{compared}: finds what mmdet's own predict finds (links 0, 2 and 5)"
    same = [other for other, parts in networks.items() if own <= parts]
    if same:
        return "same parts", f"as {min(same, key=lambda other: len(networks[other] - own))}"
    new = sorted(own - covered(kept))
    if not new:
        return "same parts", f"as {', '.join(cover(own, networks))} together"
    rest = cover(own - set(new), networks)
    return "accepted", f"parts that no converted network has: {', '.join(new)}; the others as {', '.join(rest)}"


def place_of(one: Mapping[str, Any], kept: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a folder was converted. Rows of the time before ``adaptrt sweep`` ran them have one place together."""
    found: Mapping[str, Any] = one["converted"].get("machine") or kept["conversions"]
    return found


def place() -> dict[str, Any]:
    return machine("adaptrt", "adaptrt-mmdet", "mmdet", "torch", "torchvision", "onnxruntime")


def save(kept: dict[str, Any], file: Path = RESULT) -> None:
    aside = file.with_suffix(".part")
    aside.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    aside.replace(file)


def load(file: Path = RESULT) -> dict[str, Any]:
    """Of another file that does not exist yet, the published results."""
    source = file if file.exists() else RESULT
    kept: dict[str, Any] = json.loads(source.read_text(encoding="utf-8")) if source.exists() else {"folders": {}}
    return kept


def take(file: Path) -> None:
    """Add the conversions that another machine ran, of the same configurations."""
    kept, found = load(), load(file)
    for name, one in found["folders"].items():
        own = kept["folders"].get(name, {})
        if was_run(one) and own.get("config") == one["config"]:
            own["converted"] = one["converted"]
    save(kept)


def without_paths(text: str) -> str:
    """Without the folder that mmdet is installed in."""
    import mmdet

    return text.replace(f"{Path(mmdet.__file__).parents[1]}/", "")
