"""Commands and options of other tools, and their equivalents in adaptrt."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from adaptrt.cli.yolo_lines import WITHOUT, adaptrt_line, is_yolo_word
from adaptrt.errors import UsageError

_FLAGS: Mapping[str, tuple[str, str]] = {
    # mmdet's deployment scripts and MMDeploy
    "--cfg-options": ("mmdet", "--set cfg.KEY=VALUE"),
    "--skip-postprocess": ("mmdet", "--set raw=true"),
    "--dynamic-export": ("mmdet", "--dynamic batch,hw"),
    "--trt-file": ("mmdet", "-o FILE.engine"),
    "--output-file": ("mmdet", "-o FILE"),
    "--input-img": ("mmdet", "--image FILE"),
    "--test-img": ("mmdet", "--test-image FILE"),
    "--opset-version": ("mmdet", "--opset N"),
    "--work-dir": ("MMDeploy", "-o FOLDER/"),
    "--workspace-size": ("mmdet", "--workspace SIZE"),
    # trtexec
    "--onnx": ("trtexec", "adaptrt build FILE.onnx"),
    "--saveEngine": ("trtexec", "-o FILE.engine"),
    "--loadEngine": ("trtexec", "adaptrt inspect FILE.engine"),
    "--minShapes": ("trtexec", "--min-shape INPUT:SHAPE"),
    "--optShapes": ("trtexec", "--opt-shape INPUT:SHAPE"),
    "--maxShapes": ("trtexec", "--max-shape INPUT:SHAPE"),
    "--shapes": ("trtexec", "--shape INPUT=SHAPE"),
    "--memPoolSize": ("trtexec", "--workspace SIZE"),
    "--best": ("trtexec", "--precision fp16, or int8"),
    "--noTF32": ("trtexec", "--no-tf32"),
    "--builderOptimizationLevel": ("trtexec", "--opt-level 0-5"),
    "--timingCacheFile": ("trtexec", "--timing-cache, which is on by default"),
    "--versionCompatible": ("trtexec", "--version-compatible"),
    "--hardwareCompatibilityLevel": ("trtexec", "--hardware-compatible ampere+"),
    "--stripWeights": ("trtexec", "--strip-weights"),
    "--refit": ("trtexec", "--refittable"),
    "--staticPlugins": ("trtexec", "--plugin-lib LIB"),
    "--dynamicPlugins": ("trtexec", "--plugin-lib LIB"),
    # detect.py of YOLOv5
    "--save-conf": ("YOLOv5", "--save-txt, whose files always hold the scores"),
    # export.py of YOLOv5, and yolo
    "--format": ("yolo", "--to onnx,engine"),
    "--half": ("YOLOv5", "--precision fp16"),
    "--include": ("YOLOv5", "--to onnx,engine"),
    "--nms": ("YOLOv5", "adaptrt convert SOURCE --nms"),
}
# options of adaptrt that have the name of another tool too
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {"--fp16": ("--half",)}
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "test": ("mmdet", "evaluate"),
    "deploy": ("MMDeploy", "convert"),
    "pytorch2onnx": ("MMDeploy", "convert"),
    "onnx2tensorrt": ("MMDeploy", "build"),
    "trtexec": ("TensorRT", "build"),
    "surgeon": ("Polygraphy", "clean"),
}
_THRESHOLDS = ("conf", "iou", "max_det")


def command_here(words: Sequence[str], options_of: Callable[[str], Container[str]]) -> UsageError | None:
    """The error for a command line of another tool, with that of adaptrt; ``None`` if it is unknown.

    ``words`` follow the program's name; ``options_of`` returns the options of a command of adaptrt.
    """
    name, *rest = words
    if name == "help":
        return _unknown(name, "", f"In adaptrt: {' '.join(['adaptrt', *rest[:1], '--help'])}")
    if name in WITHOUT:
        return _unknown(name, f" It is a command of yolo; adaptrt {WITHOUT[name]}.", "See: adaptrt --help")
    line, without = adaptrt_line(words, options_of)
    if line:
        return _unknown(name, f" It is a command of yolo.{_without(without)}", f"In adaptrt: {line}")
    if name not in _COMMANDS:
        command = _command_of(name)
        line = shlex.join(["adaptrt", command, *words]) if command else ""
        return UsageError(f"{name} is not a command.", hint=f"Did you mean: {line}") if line else None
    tool, here = _COMMANDS[name]
    files = [word.removeprefix("--onnx=") for word in rest if word.startswith("--onnx=")]
    files += [word for word in rest if not word.startswith("-") and "=" not in word]
    line = " ".join(["adaptrt", here, *map(shlex.quote, files[:1])])
    return _unknown(name, f" It is a command of {tool}.", f"In adaptrt: {line}")


def _command_of(file: str) -> str | None:
    """The command that opens a model file or folder; ``None`` for any other word."""
    from adaptrt.specs.backends import backend_of
    from adaptrt.store.model_files import CHECKPOINT_SUFFIXES

    if file.lower().endswith(CHECKPOINT_SUFFIXES) or Path(file, "config.json").is_file():
        return "convert"
    return "inspect" if backend_of(Path(file)) is not None else None


def _unknown(name: str, more: str, hint: str) -> UsageError:
    return UsageError(f"Unknown command {name!r}.{more}", hint=hint)


def _without(words: Sequence[str]) -> str:
    return f" Without an equivalent: {', '.join(words)}." if words else ""


def yolo_words_here(
    command: str, words: Sequence[str], options_of: Callable[[str], Container[str]]
) -> UsageError | None:
    """The error for arguments of a command of adaptrt in the syntax of ``yolo``, with the right command; ``None`` if there are none.

    An option takes the word after it: ``--set conf=0.4`` is none of them.
    """
    found = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if is_yolo_word(word) and not before.startswith("-")
    ]
    line, without = adaptrt_line([command, *words], options_of) if found else ("", [])
    if not line:
        return None
    return UsageError(f"{' '.join(found)} is the syntax of yolo.{_without(without)}", hint=f"In adaptrt: {line}")


def flag_here(flag: str, options: Container[str] = ()) -> str:
    """A sentence about another tool's option; empty if it is unknown.

    ``options`` are those of the command; thresholds without a separate option are set with ``--set``.
    """
    name = flag.removeprefix("--").replace("-", "_")
    if name in _THRESHOLDS and "--set" in options:
        return f"In this command: --set {name}=VALUE, which is stored in the file."
    if flag not in _FLAGS:
        return ""
    tool, here = _FLAGS[flag]
    return f"{flag} is an option of {tool}; in adaptrt: {here}."


def sides_here(words: Sequence[str]) -> str:
    """A sentence about height and width as two values of ``--imgsz``; empty if they are not."""
    if "--imgsz" not in words:
        return ""
    sides = [word for word in words[words.index("--imgsz") + 1 :][:2] if word.isdecimal()]
    return f"Height and width are one value: --imgsz {sides[0]}x{sides[1]}." if len(sides) == 2 else ""
