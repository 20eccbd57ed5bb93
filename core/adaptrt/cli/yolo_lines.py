"""A command line of ``yolo``, or of a script of YOLOv5, as one of adaptrt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

COMMANDS = {
    "export": "convert",
    "predict": "predict",
    "detect": "predict",  # detect.py of YOLOv5
    "val": "evaluate",
    "benchmark": "bench",
    "checks": "doctor",
}
TASKS = ("detect", "segment", "classify", "pose", "obb")
WITHOUT = {"train": "does not train models", "track": "does not track objects"}

VALUES = {
    "imgsz": ("--imgsz {}",),
    "batch": ("--batch {}",),
    "opset": ("--opset {}",),
    "workspace": ("--workspace {}",),
    "device": ("--device {}",),
    "conf": ("--conf {}", "--set conf={}"),
    "iou": ("--iou {}", "--set iou={}"),
    "max_det": ("--max-det {}", "--set max_det={}"),
    "classes": ("--classes {}",),
    "format": ("--to {}",),
    "data": ("--data {}",),
}
"""Options by argument of ``yolo``; the first that the command has is used."""

SWITCHES = {
    "half": ("--precision fp16", ""),
    "int8": ("--precision int8 --calib images/", ""),
    "dynamic": ("--dynamic batch,hw", "--dynamic none"),
    "simplify": ("", "--no-simplify"),
    "nms": ("--nms", ""),
    "agnostic_nms": ("--set agnostic=true", ""),
    "save": ("", None),
    "save_txt": ("--save-txt", ""),
    "save_csv": ("--save-csv", ""),
    "save_json": ("--save-json", ""),
    "save_crop": ("--save-crop", ""),
    "save_conf": ("", None),
    "show": ("--show", ""),
    "verbose": ("-v", "-q"),
}
"""Options for ``name=True`` and ``name=False``; empty: that is the default; ``None``: there is no equivalent."""

POSITIONAL = ("model", "source")
_FORMATS = ("onnx", "engine", "openvino")  # those with the same name in adaptrt
_SCRIPTS = {
    "weights": "model", "include": "format", "img": "imgsz", "img_size": "imgsz", "batch_size": "batch", "conf_thres": "conf", "iou_thres": "iou",
}  # fmt: skip
# what these mean depends on the command
_ONLY = {"imgsz": ("convert",), "data": ("evaluate",), "batch": ("convert", "evaluate", "predict")}


@dataclass
class _Line:
    """The parts of the command: the model, the images, the options; ``without``: words that have no equivalent."""

    command: str
    options: Container[str]
    model: str = ""
    sources: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)


def is_yolo_word(word: str) -> bool:
    """Whether it is an argument in the syntax of ``yolo``, such as ``format=engine``."""
    key, equals, _ = word.partition("=")
    return bool(equals) and key in (*POSITIONAL, *VALUES, *SWITCHES)


def adaptrt_line(words: Sequence[str], options_of: Callable[[str], Container[str]]) -> tuple[str, list[str]]:
    """The command of adaptrt for ``words``, those after the program's name, and the words without an equivalent.

    ``options_of`` returns the options of a command of adaptrt. An empty text if the words are not those of ``yolo``.
    """
    command, rest, theirs = _command(words)
    if not command:
        return "", []
    line = _Line(command, options_of(command))
    for key, value, word in _arguments(rest, theirs):
        _add(line, key, value, word)
    return _text(line), line.without


def _command(words: Sequence[str]) -> tuple[str, list[str], bool]:
    """The command of adaptrt, the other words, and whether the command is one of ``yolo``."""
    named = {key: value for key, equals, value in (word.partition("=") for word in words) if equals}
    rest = [word for word in words if not word.startswith(("mode=", "task="))]
    if "mode" in named or "task" in named:
        return COMMANDS.get(named.get("mode", "predict"), ""), rest, True
    if len(rest) > 1 and rest[0] in TASKS and rest[1] in COMMANDS:
        rest = rest[1:]
    if rest and rest[0] in COMMANDS:
        return COMMANDS[rest[0]], rest[1:], rest[0] not in COMMANDS.values()
    return (rest[0], rest[1:], False) if rest and rest[0] in COMMANDS.values() else ("", rest, False)


def _arguments(words: Sequence[str], theirs: bool) -> Iterator[tuple[str, str, str]]:
    """Key, value, and the words as they were given; without a key, they stay as they are."""
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        key, equals, value = word.partition("=")
        if word.startswith("--") and theirs:
            key = key[2:].replace("-", "_")
            key = _SCRIPTS.get(key, key)
            given = [value] if equals else []
            while key not in SWITCHES and not equals and waiting and not waiting[0].startswith("-"):
                given.append(waiting.pop(0))
                if key not in ("imgsz", "format", "classes"):
                    break
            value = "True" if key in SWITCHES and not given else ",".join(given)
            yield key, value, " ".join([word, *([] if equals else given)])
        elif is_yolo_word(word) or (theirs and equals and key.isidentifier()):
            yield key, value, word
        elif theirs and word in SWITCHES:
            yield word, "True", word
        elif word.startswith("-"):
            kept = [word]
            if not equals and waiting and not waiting[0].startswith("-") and not is_yolo_word(waiting[0]):
                kept.append(waiting.pop(0))
            yield "", "", shlex.join(kept)
        else:
            yield "source", word, word


def _add(line: _Line, key: str, value: str, word: str) -> None:
    if key == "":
        line.rest.append(word)
    elif key == "model":
        line.model = value
    elif key == "source":
        line.sources.append(value)
    elif key == "device" and line.command == "convert" and value == "cpu":
        return  # where the engine is built
    else:
        found = _option(line, key, value)
        if found is None:
            line.without.append(word)
        elif found:
            line.rest.append(found)


def _option(line: _Line, key: str, value: str) -> str | None:
    if key in SWITCHES:
        found = SWITCHES[key][value.lower() in ("false", "0", "no")]
        return found if not found or found.split()[0] in line.options else None
    if line.command not in _ONLY.get(key, (line.command,)):
        # the size is that of the file; --calib names the images for int8
        return "" if key == "data" and line.command == "convert" else None
    value = _value(key, value)
    for option in VALUES.get(key, ()):
        if value and option.split()[0] in line.options:
            return option.format(shlex.quote(value))
    return None


def _value(key: str, value: str) -> str:
    """The value as adaptrt reads it; empty if it has no equivalent."""
    parts = [part for part in re.split(r"[\s,\[\]()]+", value) if part]
    if key == "imgsz":
        return "x".join(parts[:2])
    if key == "format":
        known = [part for part in parts if part in _FORMATS]
        return ",".join(dict.fromkeys(["onnx", *known])) if known else ""
    if key == "classes":
        return ",".join(parts)
    return f"cuda:{value}" if key == "device" and value.isdecimal() else value


def _text(line: _Line) -> str:
    from adaptrt.store.model_files import CHECKPOINT_SUFFIXES

    model, *images = [line.model, *line.sources] if line.model else [*line.sources, ""][: len(line.sources) or 1]
    words = []
    if line.command != "doctor":
        words = [shlex.quote(model) if model else "SOURCE" if line.command == "convert" else "FILE"]
    if line.command == "predict":
        words += [shlex.quote(image) for image in images] or ["IMAGES"]
    if line.command == "evaluate" and not any(word.startswith("--data") for word in line.rest):
        line.rest.append("--data DATA")
    first = ""
    if line.command not in ("convert", "doctor") and model.endswith((*CHECKPOINT_SUFFIXES, ".yaml")):
        words[0] = shlex.quote(str(PurePath(model).with_suffix(".onnx")))
        first = f"adaptrt convert {shlex.quote(model)} && "
    return first + " ".join(["adaptrt", line.command, *words, *line.rest])
