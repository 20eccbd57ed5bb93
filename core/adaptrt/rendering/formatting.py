"""Formatting of stages, numbers and sizes, shared by the terminal and the page."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import PluginError
from adaptrt.quantities import digits
from adaptrt.report import LINKS
from adaptrt.specs import format_shape

if TYPE_CHECKING:
    from adaptrt.report import Check, Link, Report, Word
    from adaptrt.specs import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec

_STAGES = {
    "load": "Load the model",
    "spec": "Build the model spec",
    "reference": "Run the reference",
    "patches": "Collect patches",
    "export context": "Check the export context",
    "export": "Export to ONNX",
    "passes": "Rewrite the graph",
    "write": "Write the file",
    "preprocessing": "Prepend preprocessing",
    "preprocessing vs. numpy": "Preprocessing vs. NumPy",
    "nms": "Append NMS",
    "nms vs. numpy": "NMS vs. NumPy",
    "calibrate": "Calibrate",
    "blocks": "Divide the graph into blocks",
    "sensitivity": "Measure each block alone",
    "search": "Search within the limit of the loss",
    "types": "Apply the precision",
    "build": "Build the engine",
}

SHORT_LINKS = {
    0: "framework vs. adaptrt",
    1: "patched vs. original",
    2: "ONNX Runtime vs. reference",
    3: "reduced precision vs. reference",
    4: "engine vs. reference",
    5: "predictions vs. reference",
}


def image_input(spec: ModelSpec | None) -> str:
    """What images the file takes: ``images: batches of 1 to 16; 416 high, 320 wide``; empty without an image input."""
    if spec is None or spec.image is None:
        return ""
    dims = spec.input(spec.image.input).dims
    height, width, _ = (dims[axis] for axis in spec.image.axes)
    batch = f"batches of {_range(dims[0])}" if dims[0].dynamic else f"always {dims[0].opt} at a time"
    return f"{spec.image.input}: {batch}; {_range(height)} high, {_range(width)} wide"


def _range(axis: Dim) -> str:
    return f"{axis.min} to {axis.max}" if axis.dynamic else str(axis.opt)


def stage_title(name: str) -> str:
    """The title of a stage; unknown stages are shown by name."""
    if name in _STAGES:
        return _STAGES[name]
    number = name.removeprefix("link ")
    if number.isdecimal() and int(number) in LINKS:
        return f"Link {number}: {SHORT_LINKS[int(number)]}"
    return name[:1].upper() + name[1:]


def number(value: float) -> str:
    """The digits that matter: ``0.0264``, ``1.2e-07``, ``12.3``, ``1980``, ``0``, ``not finite``."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    return digits(value) if 1e-4 <= abs(value) < 1e4 else f"{value:.1e}"


def used(check: Check) -> float | None:
    """The fraction of its limit that a check uses, 0 to 1 if it passes; ``None`` without a limit.

    If higher is better: the shortfall as a share of the allowed one, 0 for a perfect value.
    """
    if check.limit is None:
        return None
    if not math.isfinite(check.value):
        return math.inf
    if check.higher_is_better:
        room = 1 - check.limit
        short = 1 - check.value
        return short / room if room > 0 else (0.0 if check.passed else math.inf)
    return check.value / check.limit if check.limit > 0 else (0.0 if check.passed else math.inf)


def worst(link: Link) -> Check | None:
    """The check that fails, else the one closest to its limit."""
    if not link.checks:
        return None
    return max(link.checks, key=lambda check: (not check.passed, used(check) or 0.0))


def value_text(check: Check) -> str:
    return quantity(check.value, check.unit)


def limit_text(check: Check) -> str:
    if check.limit is None:
        return ""
    return f"{'≥' if check.higher_is_better else '≤'} {quantity(check.limit, check.unit)}"


def allows_text(check: Check) -> str:
    """The largest change of any element that would still be called equal."""
    return "" if check.allows is None else quantity(check.allows, check.unit)


def quantity(value: float, unit: str) -> str:
    """A value with its unit; shares in percent, logits and scores without a unit."""
    if not math.isfinite(value):
        return number(value)
    if unit == "share":
        return f"{100 * value:.4g} %"
    return f"{number(value)} px" if unit == "pixels" else number(value)


def verdict(report: Report) -> str:
    """One line: what failed, or how far the result is verified."""
    if report.failure is not None:
        return report.failure.message
    ran = [link for link in report.links if link.status != "not run"]
    word = verdict_word(report)
    if word == "not verified":
        return "Not verified: no output was compared with the model."
    checks = sum(len(link.checks) for link in ran)
    held = f"{len(ran)} of {len(report.links)} links ran, {f'all {checks} checks' if checks != 1 else '1 check'} passed"
    if word == "verified":
        return f"Verified: {held}."
    return f"Partly verified: {held}. Missing checks are listed below."


def verdict_word(report: Report) -> Word:
    """The word for the whole; reports of versions without verdicts: whether anything was compared."""
    if report.verdict is not None:
        return report.verdict.word
    return "partly verified" if any(link.checks for link in report.links) else "not verified"


def missing_of(report: Report) -> list[str]:
    """What is missing for a verified result."""
    return report.verdict.missing if report.verdict is not None and report.failure is None else []


def input_shape(tensor: InputSpec) -> str:
    """The shape in the shape language; profiles joined by ``and``."""
    return " and ".join(map(format_shape, tensor.profiles))


def output_shape(tensor: OutputSpec) -> str:
    return " x ".join(map(str, tensor.dims)) or "unknown"


def describe_transform(image: ImageTransform, size: tuple[int, int]) -> str:
    """The image preprocessing in one line; ``size`` is height and width."""
    resize = {
        "letterbox": f"letterbox, {'centered' if image.center else 'top left'}, padded with {'zeros' if image.pad is None else image.pad}",
        "stretch": "stretched",
        "square": "center crop to a square",
        "crop": f"center crop {image.crop_fraction:.3g}",
    }[image.resize]
    values = f"x {number(image.scale)}"
    if any(image.mean) or any(side != 1 for side in image.std):
        values += f", - ({_plain(image.mean)}), / ({_plain(image.std)})"
    kind = f"{image.library} {image.interpolation}"
    inside = " in the graph" if image.embedded else ""
    return f"{size[0]}x{size[1]} (height x width), {resize}, {kind}, {image.colors.upper()}, {values}{inside}"


def describe_decoder(decoder: DecoderSpec) -> str:
    """A decoder with its effective parameters (the spec's override its defaults); ``yolo: conf 0.25, iou 0.7``."""
    from adaptrt.specs.decoders import find_decoder

    try:
        own = {
            field.name: field.default
            for field in dataclasses.fields(find_decoder(decoder.name, decoder.distribution).params)
        }
    except PluginError as error:
        own = {"": error.message}
    params = {name: value for name, value in {**own, **decoder.params}.items() if value is not None}
    return f"{decoder.name}: {', '.join(f'{name} {value}'.strip() for name, value in params.items())}".removesuffix(
        ": "
    )


def _plain(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def display_path(path: str | Path) -> str:
    """The path relative to the current folder if it is inside it."""
    absolute = Path(path).absolute()
    folder = Path.cwd()
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else str(path)
