"""Recognizes configs of MMDetection, by file or name, and checkpoints that contain their config."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from adaptrt import Match, SourceFacts
from adaptrt.checkpoint import python_literals

QUERIES = frozenset({"DETR", "ConditionalDETR", "DABDETR", "DeformableDETR", "DINO"})
# detectors of the adapter mmdet of which a configuration has been converted and compared
DETECTORS = frozenset(
    {
        *(
            "ATSS",
            "AutoAssign",
            "CenterNet",
            "DDOD",
            "FCOS",
            "FSAF",
            "GFL",
            "NASFCOS",
            "RTMDet",
            "RetinaNet",
            "SingleStageDetector",
        ),
        *("VFNet", "YOLOF", "YOLOV3", "YOLOX"),
        *("CascadeRCNN", "FasterRCNN", "MaskRCNN", "RPN"),
        "Mask2Former",
    }
)
MAX_BASES = 20
MAX_BYTES = 1 << 20
_CONFIG_NAME = re.compile(r"(mmdet::)?([\w.-]+/)?(?P<name>[\w.-]+?)(\.py)?")


class MmdetRecognizer:
    name = "mmdet"

    def recognize(self, facts: SourceFacts) -> Iterable[Match]:
        if facts.kind == "python" and facts.path is not None:
            return _of_type(_detector(facts.config, facts.path.parent), "a config")
        if facts.kind == "config":
            return _of_type(_type_in(facts.config), "a config")
        if facts.kind == "name":
            path = _config_in_wheel(facts.source)
            if path is None:
                return ()
            found = _detector(_literals_of(path), path.parent)
            return _of_type(found or "", "a config of mmdet")
        if facts.kind == "checkpoint":
            return _checkpoint(facts)
        return ()


def _checkpoint(facts: SourceFacts) -> Iterable[Match]:
    meta = facts.content.get("meta") if isinstance(facts.content, Mapping) else None
    if not isinstance(meta, Mapping):
        return ()
    config = meta.get("cfg") or meta.get("config")
    if isinstance(config, str):
        return _of_type(_type_in(python_literals(config)), "a checkpoint with its config")
    if not ({"mmengine_version", "dataset_meta", "mmdet_version"} & set(meta)):
        return ()
    reason = "an mmengine checkpoint without its config: use the config as the source"
    return [
        Match(
            adapter=adapter,
            certainty="likely",
            reason=reason,
            source="my_config.py",
            arguments=("--weights", facts.source),
        )
        for adapter in ("detr", "mmdet")
    ]


def _of_type(detector: str | None, what: str) -> Iterable[Match]:
    """``detector``: the type of the config's model; ``None`` if it is not a config, empty if the type is not a literal."""
    if detector is None:
        return ()
    if detector in QUERIES:
        return (Match(adapter="detr", certainty="exact", reason=f"{what} for {detector}"),)
    if detector in DETECTORS:
        return (Match(adapter="mmdet", certainty="exact", reason=f"{what} for {detector}"),)
    if detector:
        reason = f"{what} for {detector}, which is not tested"
        return (Match(adapter="mmdet", certainty="likely", reason=reason),)
    return [
        Match(adapter=adapter, certainty="likely", reason=f"{what} in which code sets the type of the detector")
        for adapter in ("detr", "mmdet")
    ]


def _type_in(config: Mapping[str, Any]) -> str | None:
    model = config.get("model")
    if not isinstance(model, Mapping) or "type" not in model:
        return None
    kind = model["type"]
    return kind.rpartition(".")[2] if isinstance(kind, str) else ""


def _detector(config: Mapping[str, Any], folder: Path) -> str | None:
    """The type of the detector, in the config itself or in the configs it is based on."""
    pending = [(config, folder)]
    bases = 0
    while pending:
        values, beside = pending.pop(0)
        found = _type_in(values)
        if found is not None:
            return found
        base = values.get("_base_", ())
        for name in [base] if isinstance(base, str) else base if isinstance(base, (list, tuple)) else ():
            path = _base_path(name, beside)
            if path is not None and bases < MAX_BASES:
                bases += 1
                pending.append((_literals_of(path), path.parent))
    return None


def _base_path(name: object, beside: Path) -> Path | None:
    if not isinstance(name, str) or not name.endswith(".py"):
        return None
    if name.startswith("mmdet::"):
        folder = _wheel_folder()
        path = folder / name.removeprefix("mmdet::") if folder else None
    else:
        path = beside / name
    return path if path is not None and path.is_file() else None


def _literals_of(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            return python_literals(file.read(MAX_BYTES).decode("utf-8", "replace"))
    except OSError:  # the adapter reports it
        return {}


def _wheel_folder() -> Path | None:
    found = importlib.util.find_spec("mmdet")
    return Path(found.origin).parent / ".mim" / "configs" if found is not None and found.origin else None


def _config_in_wheel(source: str) -> Path | None:
    folder = _wheel_folder()
    match = _CONFIG_NAME.fullmatch(source)
    if folder is None or match is None:
        return None
    found = sorted(
        path for path in folder.glob(f"*/{match['name']}.py") if path.parent.name not in ("_base_", "common")
    )
    return found[0] if found else None


recognizer = MmdetRecognizer()
