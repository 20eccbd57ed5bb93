"""Reports of earlier versions, as data under today's keys."""

from __future__ import annotations

import re
from typing import Any

from adaptrt.specs.versions import entries, rename, upgrade_spec

# what names ended in before that was a kind; with the kind that such a check had then, if it had one
_FORMER_ENDINGS: tuple[tuple[str, str | None, str], ...] = (
    (r" in a batch", None, "batch"),
    (r" \(the file in ONNX Runtime\)", None, "file"),
    (r" on rows held back", "samples", "held back"),
    (r", in a batch of \d+", "metric", "batch"),
    (r", with the Q/DQ graph", "metric", "same graph"),
)
_KINDS = {"detections": "detect", "classification": "classify", "values": "values"}


def upgrade_report(raw: Any) -> Any:
    """A report as data, under today's keys.

    Version 1 had pictures, and the kind of every check in its name; version 2 had the record of a TensorRT engine beside
    those of other files.
    """
    upgrade_links(entries(raw, "links"))
    if not isinstance(raw, dict) or raw.get("version", 1) not in (1, 2):
        return raw
    if raw.get("version", 1) == 1:
        rename(raw, "pictures", "images")
        rename(raw.get("files"), "typed", "reduced")
        _upgrade_predictions(raw)
        raw["spec"] = upgrade_spec(raw.get("spec"))
    rename(raw.get("files"), "manifest", "engine.json")
    _upgrade_engine(raw)
    return {**raw, "version": 3}


def _upgrade_engine(raw: dict[str, Any]) -> None:
    """The record of an engine, with that of the file it belongs to; in the oldest reports there was none."""
    engine = raw.pop("engine", None)
    if not isinstance(engine, dict):
        return
    artifacts = entries(raw, "artifacts")
    found = next((one for one in artifacts if isinstance(one, dict) and one.get("record") is None), None)
    if found is None:
        link = next((one for one in entries(raw, "links") if isinstance(one, dict) and one.get("number") == 4), {})
        found = {"name": "engine", "backend": "tensorrt", "precision": engine.get("precision")}
        found |= {key: link[key] for key in ("status", "reason") if key in link}
        raw["artifacts"] = [*artifacts, found]
    facts = {str(engine.get("product", "TensorRT")): engine.get("tensorrt"), "GPU": engine.get("gpu")}
    found["facts"] = {title: text for title, text in facts.items() if text}
    found["summary"] = found.get("summary") or engine.get("evidence", "")
    found |= {key: engine[key] for key in ("layers", "messages") if key in engine}
    found["record"] = engine


def upgrade_links(links: list[Any]) -> None:
    """Links as data, in place: JSON has no infinity, so ``null`` stands for a value that was infinite or NaN."""
    for link in links:
        for check in entries(link, "checks"):
            if not isinstance(check, dict):
                continue
            if "value" in check and check["value"] is None:
                check["value"] = float("inf")
            name = check.get("name")
            if not isinstance(name, str):
                continue
            for ending, former, kind in _FORMER_ENDINGS:
                found = re.search(f"{ending}$", name)
                if found and check.get("kind") in (None, former):
                    check |= {"kind": kind, "name": name[: found.start()]}
                    break
            else:
                if "kind" not in check and check.get("higher_is_better"):
                    check["kind"] = "metric"


def _upgrade_predictions(raw: Any) -> None:
    """Version 1 had a kind, with boxes and classes in separate columns."""
    for image in entries(raw, "images"):
        predictions = image.get("predictions") if isinstance(image, dict) else None
        if isinstance(predictions, dict):
            image["predictions"] = {name: _upgrade_prediction(found) for name, found in predictions.items()}


def _upgrade_prediction(found: Any) -> Any:
    if not isinstance(found, dict) or "kind" not in found:
        return found
    kind, names = found["kind"], found.get("names")
    data = {key: value for key, value in found.items() if key != "kind"}
    words = f"values: {', '.join(map(str, names))}" if kind == "values" and isinstance(names, list) else ""
    return {"task": _KINDS.get(str(kind)), "found": words, "data": data}
