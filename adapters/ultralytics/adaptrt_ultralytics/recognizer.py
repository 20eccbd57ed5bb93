"""Recognizes checkpoints and configs of Ultralytics, and of the classic ``ultralytics/yolov5`` repository."""

# SPDX-License-Identifier: AGPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from adaptrt import Match, SourceFacts
from adaptrt_ultralytics.checkpoints import CLASSIC_MODULES, OTHER_TASKS, _network_in

_CONFIG_NAME = re.compile(r"yolo(v?\d+)[a-z]?\d?u?(-[a-z0-9]+)*(\.ya?ml)?")
_NEW_MODULE = "ultralytics.nn.tasks"


class UltralyticsRecognizer:
    name = "ultralytics"

    def recognize(self, facts: SourceFacts) -> Iterable[Match]:
        if facts.kind == "checkpoint":
            return _checkpoint(facts)
        if facts.kind in ("name", "config") and _CONFIG_NAME.fullmatch(PurePath(facts.source).name):
            return _named(facts, "an Ultralytics model configuration")
        return ()


def _checkpoint(facts: SourceFacts) -> Iterable[Match]:
    network = _network_in(facts.content)
    if network is None:
        return ()
    module, _, kind = network.path.rpartition(".")
    if module in CLASSIC_MODULES:
        reason = f"a checkpoint of the classic YOLOv5 repository ({network.path})"
        return (Match(adapter="yolov5", certainty="exact", reason=reason),)
    if module != _NEW_MODULE:
        return ()
    config = _config_name(facts.content, network.get("yaml"))
    adapter = "yolov5" if config.startswith("yolov5") else "yolo"
    described = f"an Ultralytics {kind}" + (f", {config}" if config else "")
    if kind in OTHER_TASKS:
        reason = f"{described}: {OTHER_TASKS[kind]} is not supported"
        return (Match(adapter=adapter, certainty="none", reason=reason),)
    return (Match(adapter=adapter, certainty="exact", reason=described),)


def _config_name(content: Any, described: Any) -> str:
    """``yolov8n.yaml``: the configuration the network was made from, without its folder; empty if it is not recorded."""
    places = [described, content.get("train_args") if isinstance(content, Mapping) else None]
    for place, key in zip(places, ("yaml_file", "model"), strict=True):
        value = place.get(key) if isinstance(place, Mapping) else None
        if isinstance(value, str) and value:
            return PurePath(value.replace("\\", "/")).name
    return ""


def _named(facts: SourceFacts, reason: str) -> Iterable[Match]:
    adapter = "yolov5" if PurePath(facts.source).name.startswith("yolov5") else "yolo"
    return (Match(adapter=adapter, certainty="exact", reason=reason),)


recognizer = UltralyticsRecognizer()
