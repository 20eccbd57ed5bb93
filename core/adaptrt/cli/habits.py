"""Commands, options and arguments of other tools, and their equivalents in adaptrt."""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping, Sequence

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
    "--nms": ("YOLOv5", "predict, which applies it to the outputs"),
}
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "export": ("yolo", "convert"),
    "val": ("yolo", "evaluate"),
    "detect": ("YOLOv5", "predict"),
    "test": ("mmdet", "evaluate"),
    "deploy": ("MMDeploy", "convert"),
    "pytorch2onnx": ("MMDeploy", "convert"),
    "onnx2tensorrt": ("MMDeploy", "build"),
    "trtexec": ("TensorRT", "build"),
    "surgeon": ("Polygraphy", "clean"),
}
_WORDS: Mapping[str, str] = {
    "model": "SOURCE",
    "format": "--to",
    "imgsz": "--imgsz",
    "batch": "--batch",
    "opset": "--opset",
    "workspace": "--workspace",
    "device": "--device",
    "conf": "--conf",
    "iou": "--iou",
    "max_det": "--max-det",
    "source": "the list of images, after the file",
}
_THRESHOLDS = ("conf", "iou", "max_det")
_SWITCHES: Mapping[str, tuple[str, str]] = {
    "half": ("--precision fp16", "not needed: float32 is the default"),
    "int8": ("--precision int8", "not needed: float32 is the default"),
    "dynamic": ("--dynamic batch,hw", "--dynamic none"),
    "save_txt": ("--save-txt", "not needed: files are written only on request"),
    "save_csv": ("--save-csv", "not needed: files are written only on request"),
    "save_json": ("--save-json", "not needed: files are written only on request"),
    "save_crop": ("--save-crop", "not needed: files are written only on request"),
    "save_conf": (
        "not needed: the files of --save-txt contain the scores",
        "not supported: they always contain the scores",
    ),
    "simplify": ("not needed: it is the default", "--no-simplify"),
}


def command_here(name: str, rest: Sequence[str]) -> str:
    """A sentence about another tool's command, with ``rest`` as what followed it; empty if it is unknown."""
    if name not in _COMMANDS:
        return ""
    tool, here = _COMMANDS[name]
    plain = [word for word in rest if not word.startswith("-") and "=" not in word]
    return f"{name} is a command of {tool}; in adaptrt: {' '.join(['adaptrt', here, *map(shlex.quote, plain[:1])])}."


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


def words_here(words: Sequence[str], options: Container[str]) -> str:
    """A sentence about arguments in the syntax of ``yolo`` (``format=engine half=True``); empty if none are.

    ``options`` are those of the command; thresholds without a separate option are set with ``--set``.
    """
    if "--imgsz" in words:
        sides = [word for word in words[words.index("--imgsz") + 1 :][:2] if word.isdecimal()]
        if len(sides) == 2:
            return f"Height and width are one value: --imgsz {sides[0]}x{sides[1]}."
    found = [said for word in words if (said := _word_here(word, options))]
    return f"adaptrt uses options instead of yolo arguments: {'; '.join(found)}." if found else ""


def _word_here(word: str, options: Container[str]) -> str:
    key, equals, value = word.partition("=")
    if not equals or key.startswith("-"):
        return ""
    if key in _SWITCHES:
        on, off = _SWITCHES[key]
        return f"{word} is {off if value.lower() in ('false', '0', 'no') else on}"
    here = _WORDS.get(key)
    if here is None:
        return ""
    if key == "model":
        return f"{word} is {value}, the first argument"
    if key in _THRESHOLDS and here not in options:
        return f"{word} is --set {word}"
    if key == "device" and value.isdecimal():
        value = f"cuda:{value}"
    return f"{word} is {here} {value}" if here.startswith("--") else f"{word} is {here}"
