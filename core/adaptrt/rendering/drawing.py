"""The drawing of a graph as an SVG file, or as a page with a table of its blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.quantities import counted
from adaptrt.rendering.html import render_template, write_document
from adaptrt.rendering.layers import share, share_of_limit
from adaptrt.rendering.layout import layered

if TYPE_CHECKING:
    from adaptrt.pipeline.layers.drawing import Drawing, DrawnBlock
    from adaptrt.rendering.layout import Point

FORMATS = ("svg", "html")
_LETTER, _SMALL_LETTER, _PADDING = 7.3, 6.3, 14.0  # widths at 13 and 11.5 px
_LONGEST = 38  # letters of a title
_NARROWEST, _MARGIN, _TOP, _KEY_HEIGHT = 460.0, 16.0, 36.0, 20.0  # of an SVG file: its head has a title and a legend
_KNOWN = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
_STEPS = 6  # shades of a scale
# upper ends of the shades of a share of the limit; beyond the last one, a tensor differs
_LIMITS = (0.01, 0.1, 0.3, 0.6, 1.0)


@dataclass(frozen=True)
class Part:
    """A part of the bar below the text of a box. ``style``: the class of its color."""

    x: float
    width: float
    style: str


@dataclass(frozen=True)
class Box:
    """A block at its position. ``style``: the class of its color."""

    block: DrawnBlock
    x: float
    y: float
    width: float
    height: float
    title: str
    text: str
    hover: str
    style: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Key:
    """A color of the legend at its position."""

    x: float
    y: float
    name: str
    style: str


@dataclass(frozen=True)
class Head:
    """What is above the graph in an SVG file. ``width``: of the file; ``height``: of the head."""

    title: str
    keys: tuple[Key, ...]
    width: float
    height: float


@dataclass(frozen=True)
class GraphImage:
    """``legend``: names of the colors with their classes."""

    drawing: Drawing
    boxes: tuple[Box, ...]
    curves: tuple[str, ...]
    width: float
    height: float
    legend: tuple[tuple[str, str], ...]


def graph_image(drawing: Drawing) -> GraphImage:
    texts = [_text(drawing, block) for block in drawing.blocks]
    titles = [_cut(block.title) for block in drawing.blocks]
    sizes: list[Point] = [
        (max(len(title) * _LETTER, len(text) * _SMALL_LETTER) + 2 * _PADDING, 46.0 if text else 28.0)
        for title, text in zip(titles, texts, strict=True)
    ]
    layout = layered(sizes, drawing.edges)
    longest = max((block.seconds for block in drawing.blocks), default=0.0)
    boxes = []
    for block, title, text, size, center in zip(drawing.blocks, titles, texts, sizes, layout.centers, strict=True):
        x, y = center[0] - size[0] / 2, center[1] - size[1] / 2
        parts = _parts(block, x, size[0]) if drawing.color == "precision" else ()
        style = _style(drawing, block, longest)
        boxes.append(Box(block, x, y, *size, title, text, _hover(drawing, block), style, parts))
    return GraphImage(drawing, tuple(boxes), layout.curves, layout.width, layout.height, _legend(drawing, longest))


def render_svg(drawing: Drawing) -> str:
    image = graph_image(drawing)
    return render_template("drawing.svg.j2", image=image, head=_head(image))


def render_drawing_page(drawing: Drawing) -> str:
    return render_template(
        "drawing.html.j2", image=graph_image(drawing), share=share, milliseconds=milliseconds, block_text=_text
    )


def write_drawing(drawing: Drawing, path: Path, form: str) -> Path:
    return write_document(path, render_svg(drawing) if form == "svg" else render_drawing_page(drawing))


def milliseconds(seconds: float) -> str:
    """``0.0123 ms``, ``1.26 ms``, ``340 ms``: layers take microseconds."""
    value = seconds * 1000
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _text(drawing: Drawing, block: DrawnBlock) -> str:
    """The line below the title of a box."""
    if block.kind != "module":
        return ""
    if drawing.color == "time":
        part = block.seconds / drawing.seconds if drawing.seconds else 0.0
        return f"{milliseconds(block.seconds)}, {100 * part:.1f} %"
    if drawing.color == "error":
        return share_of_limit(block.worst.used) if block.worst is not None else "not compared"
    counts = block.precisions
    if len(counts) == 1:
        return f"{next(iter(counts))}, {counted(len(block.nodes), 'node')}"
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or counted(len(block.nodes), "node")


def _hover(drawing: Drawing, block: DrawnBlock) -> str:
    lines = [block.title]
    if block.kind == "module":
        lines.append(", ".join(f"{name} {count}" for name, count in block.operators.items()))
    if block.worst is not None:
        lines.append(f"{block.worst.name}: {share_of_limit(block.worst.used)}, compared with {drawing.reference}")
    return "\n".join(lines)


def _style(drawing: Drawing, block: DrawnBlock, longest: float) -> str:
    if block.kind != "module":
        return "end"
    if drawing.color == "time":
        return f"scale{_time_step(block.seconds, longest)}"
    if drawing.color == "error":
        return f"error{_error_step(block.worst.used)}" if block.worst is not None else "none"
    return _precision_style(block.precision)


def _time_step(seconds: float, longest: float) -> int:
    return min(_STEPS - 1, int(_STEPS * seconds / longest)) if longest else 0


def _error_step(used: float) -> int:
    return sum(used > limit for limit in _LIMITS) if math.isfinite(used) else len(_LIMITS)


def _precision_style(name: str) -> str:
    return name if name in _KNOWN else "other" if name else "none"


def _parts(block: DrawnBlock, x: float, width: float) -> tuple[Part, ...]:
    """The share of the nodes in each precision, if there are several."""
    counts = block.precisions
    if len(counts) < 2:
        return ()
    parts, total = [], sum(counts.values())
    for name, count in counts.items():
        parts.append(Part(x, width * count / total, _precision_style(name)))
        x += width * count / total
    return tuple(parts)


def _legend(drawing: Drawing, longest: float) -> tuple[tuple[str, str], ...]:
    if drawing.color == "time":
        ends = [longest * (step + 1) / _STEPS for step in range(_STEPS)]
        return tuple((f"up to {milliseconds(end)}", f"scale{step}") for step, end in enumerate(ends))
    if drawing.color == "error":
        names = [f"up to {100 * limit:.0f} % of the limit" for limit in _LIMITS] + ["beyond the limit"]
        return (*((name, f"error{step}") for step, name in enumerate(names)), ("not compared", "none"))
    present = {name for block in drawing.blocks for name in block.precisions}
    shown = [(name, _precision_style(name)) for name in (*_KNOWN, *sorted(present - set(_KNOWN))) if name in present]
    if any(block.kind == "module" and not block.precisions for block in drawing.blocks):
        shown.append(("no floats, or not shown", "none"))
    return tuple(shown)


def _head(image: GraphImage) -> Head:
    """The legend in as many rows as the width of the file requires."""
    drawing = image.drawing
    title = f"{drawing.title}, colored by {drawing.color}"
    title += f", compared with {drawing.reference}" if drawing.reference else ""
    width = max(image.width, _NARROWEST, len(title) * _LETTER + 2 * _MARGIN)
    keys: list[Key] = []
    x, y = _MARGIN, _TOP
    for name, style in image.legend:
        taken = 33 + len(name) * _SMALL_LETTER
        if keys and x + taken > width:
            x, y = _MARGIN, y + _KEY_HEIGHT
        keys.append(Key(x, y, name, style))
        x += taken
    return Head(title, tuple(keys), width, y + _KEY_HEIGHT + 2)


def _cut(title: str) -> str:
    return title if len(title) <= _LONGEST else f"…{title[1 - _LONGEST :]}"
