"""Errors of the Python API name arguments, where those of the command line name options."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from adaptrt.errors import AdaptrtError
from adaptrt.specs.build import FLAGS
from adaptrt.specs.precisions import PRECISIONS

_NAMES: Mapping[str, tuple[str, ...]] = {
    "-o": ("output",),
    "--set": ("options",),
    "--plugins": ("plugins_file",),
    "--plugin-lib": ("plugin_libs",),
    "--ort-custom-ops": ("ort_custom_ops", "custom_ops"),
    "--nms": ("nms",),
    "--backend": ("backends",),
}
"""Arguments with another name than the option; the first one that a function has."""
_FIELDS: Mapping[str, tuple[str, str, str]] = {
    "--calib-images": ("calib", "CalibrationRequest", "images"),
    "--calib-batch": ("calib", "CalibrationRequest", "batch"),
    "--calib-method": ("calib", "CalibrationRequest", "method"),
    "--calib-cache": ("calib", "CalibrationRequest", "cache"),
    "--data-limit": ("data", "LabeledData", "limit"),
    "--max-loss": ("data", "LabeledData", "max_loss"),
    "--nms-rounds": ("nms", "NmsRequest", "rounds"),
    "--nms-candidates": ("nms", "NmsRequest", "candidates"),
    "--nms-schema": ("nms", "NmsRequest", "schema"),
    **{flag: ("build_options", "BuildOptions", field) for field, flag in FLAGS.items()},
}
"""Fields of the object that an argument takes, and its class."""
_TUPLES = ("plugin_libs",)
_LISTS = ("input_names", "output_names", "backends")  # text is one name there
_WORDS = "auto|dynamo|torchscript|none|quick|full|verified|onnx|engine|rtx|batch|hw|cluster|efficient|converged|same-cc"
_PART = r"[^\s,;)]*[^\s,;.:)]"
_TOKEN = rf"{_PART}(?:,{_PART})*"
_VALUE = (
    rf"'[^']*'|(?:{_WORDS})(?![\w,/=-]|\.\w)|(?=\S*[\d=/:|*+_]|[A-Z]{{2,}}|[^\s,;.)]+[,.]\w|\w+(?:[.,;)\n]|$)){_TOKEN}"
)
"""What is not a word of the sentence."""
OPTION = re.compile(rf"(?<![\w-])(?P<flag>--[a-z][a-z0-9-]*[a-z0-9]|-o)(?![\w-])(?:[ =](?P<value>{_VALUE}))?")
PAIR = re.compile(rf"(?<![\w-])(?:--set|-s) (?P<key>[\w.]+)(?:=(?P<value>'[^']*'|{_TOKEN}))?")
COMMAND = re.compile(r"\b(?:adaptrt [a-z]|pip |trtexec |polygraphy )[^;\n]*?(?=\.(?:\s|$)|;|\n|, or |$)")
_NEIGHBORS = re.compile(r"(\w=(?:\"[^\"]*\"|\w+)) (?=\w+=)")
_IN_PYTHON = re.compile(r" \(in Python: [^)]*\)")


def say_in_python(error: AdaptrtError, function: Callable[..., Any]) -> None:
    """Replace the options that an error names by the arguments of the function that was called."""
    error.message = in_python(error.message, function)
    error.hint = None if error.hint is None else in_python(error.hint, function)
    error.args = (error.message,)


def in_python(text: str, function: Callable[..., Any]) -> str:
    """``Use --precision fp16.`` as ``Use precision="fp16".``; commands, and options without an argument, are left as they are."""
    if "-" not in text:
        return text
    found, start = [], 0
    for command in COMMAND.finditer(text):
        found += [_translated(text[start : command.start()], function), command.group()]
        start = command.end()
    return "".join([*found, _translated(text[start:], function)])


def _translated(text: str, function: Callable[..., Any]) -> str:
    arguments, before = _arguments(function), text
    name = next((one for one in ("options", "params") if one in arguments), None)
    if name is not None:
        say = _parameter if name in arguments.keywords else partial(_item, name)
        text = PAIR.sub(say, text)
    translated = OPTION.sub(lambda match: arguments.spelled(match["flag"], match["value"]) or match.group(), text)
    return _NEIGHBORS.sub(r"\1, ", _IN_PYTHON.sub("", translated)) if translated != before else before


def _item(name: str, match: re.Match[str]) -> str:
    """Of the dict that an argument takes."""
    key, value = json.dumps(match["key"]), match["value"]
    return f"{name}[{key}]" if value is None else f"{name}={{{key}: {_literal(value)}}}"


def _parameter(match: re.Match[str]) -> str:
    return match["key"] if match["value"] is None else f"{match['key']}={_literal(match['value'])}"


@dataclass(frozen=True)
class _Arguments:
    """Those of a function, with their defaults. ``keywords``: the one that takes all other names."""

    defaults: Mapping[str, Any]
    keywords: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.defaults

    def spelled(self, flag: str, value: str | None) -> str | None:
        name = flag.lstrip("-").replace("-", "_")
        name = next((other for other in _NAMES.get(flag, ()) if other in self), name)
        if name in self:
            if value is not None and isinstance(self.defaults[name], bool) and name != "nms":
                return f"{name}=True {value}"
            if value is not None:
                return f"{name}={json.dumps(value.split(',')) if name in _LISTS else _literal(value)}"
            return f"{name}=True" if self.defaults[name] is False and name != "nms" else name
        if name.startswith("no_") and name[3:] in self:
            return f"{name[3:]}=False"
        if flag[2:] in PRECISIONS.names() and "precision" in self:
            return f'precision="{flag[2:]}"' + ("" if value is None else f" {value}")
        argument, kind, field = _FIELDS.get(flag, ("", "", ""))
        if argument not in self:
            return None
        if value is None:
            return f"{field} of {kind}"
        given = f"({_literal(value)},)" if field in _TUPLES else _literal(value)
        return f"{argument}={kind}({field}={given})"


@lru_cache(maxsize=32)
def _arguments(function: Callable[..., Any]) -> _Arguments:
    parameters = inspect.signature(function).parameters.values()
    keywords = frozenset(one.name for one in parameters if one.kind is one.VAR_KEYWORD)
    return _Arguments({one.name: one.default for one in parameters}, keywords)


def _literal(value: str) -> str:
    value = value[1:-1] if value[:1] == value[-1:] == "'" and len(value) > 1 else value
    return value if re.fullmatch(r"-?\d+(\.\d+)?|\.\.\.", value) else json.dumps(value)
