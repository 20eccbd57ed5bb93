"""Draws docs/images/chain.svg: the forms of a model during a conversion, and the links that compare them.

Titles of the links are those of the report; what each of them finds is read from the table in docs/explanation/verification.md.
"""

from __future__ import annotations

import re
import textwrap
from html import escape
from pathlib import Path

from adaptrt.report import LINKS

ROOT = Path(__file__).parents[2]
VERIFICATION = ROOT / "docs" / "explanation" / "verification.md"

WIDTH, MARGIN = 860, 24
LEFT, RIGHT = 220, 230  # widths of the columns; the comparisons are between them
TOP, ROW, GAP = 66, 54, 22
CHARACTERS = 50  # in a line between the columns

_STYLE = """\
    .card { fill: #ffffff; stroke: #d5dde4 }
    .box { fill: #f3f7f9; stroke: #b8c6d1 }
    .reference { fill: #e3f2f0; stroke: #00796b }
    .title { fill: #1d2a35; font-size: 14px; font-weight: 600 }
    .small { fill: #55666f; font-size: 12px }
    .line { stroke: #00796b; stroke-width: 1.6; stroke-dasharray: 5 4 }
    .arrow { stroke: #7b8b97; stroke-width: 1.6; fill: none }
    .head { fill: #7b8b97 }
    .badge { fill: #00796b }
    .number { fill: #ffffff; font-size: 13px; font-weight: 700 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #14191f; stroke: #323c46 }
      .box { fill: #202831; stroke: #46535f }
      .reference { fill: #12322f; stroke: #4db6ac }
      .title { fill: #e8eef2 }
      .small { fill: #a9b6c0 }
      .line { stroke: #4db6ac }
      .arrow { stroke: #8796a2 }
      .head { fill: #8796a2 }
      .badge { fill: #4db6ac }
      .number { fill: #0c1a19 }
    }"""


def chain_image() -> str:
    """The text of the SVG file. The colors follow the reader's light or dark scheme; the card has its own background."""
    finds = _finds()
    height = TOP + len(LINKS) * (ROW + GAP) - GAP + MARGIN
    right = WIDTH - MARGIN - RIGHT
    parts = [
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        _text(MARGIN + LEFT / 2, 40, "Your model", "title"),
        _text((MARGIN + LEFT + right) / 2, 40, "compared, with a limit for each value", "small"),
        _text(right + RIGHT / 2, 40, "Its conversion", "title"),
    ]
    inner = [number for number in LINKS if number not in (0, max(LINKS))]
    top, bottom = _row(inner[0]), _row(inner[-1]) + ROW
    parts += _box(MARGIN, top, LEFT, bottom - top, ["The reference", "unpatched, eager, float32"], "reference")
    for number, title in LINKS.items():
        y, (first, _, second) = _row(number), title.partition(" vs. ")
        own, made = (first, second) if number == 0 else (second, first)
        if number not in inner:
            parts += _box(MARGIN, y, LEFT, ROW, [_capital(own)])
        parts += _box(right, y, RIGHT, ROW, [_capital(made)])
        if number in inner[1:]:
            parts += _arrow(right + RIGHT / 2, y - GAP, y)
        parts += _comparison(number, y, MARGIN + LEFT, right, finds[number])
    body = "\n".join(f"  {part}" for part in parts)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" \
font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif">
  <title>The links: what adaptrt compares during a conversion</title>
  <!-- Written by `make docs` out of docs/generators/chain_image.py: change it there. -->
  <style>
{_STYLE}
  </style>
{body}
</svg>
"""


def _finds() -> dict[int, str]:
    """The third column of the table of links, by number."""
    rows = re.findall(r"^\| (\d) \| [^|]+ \| ([^|]+) \|$", VERIFICATION.read_text(encoding="utf-8"), re.MULTILINE)
    found = {int(number): text for number, text in rows}
    if set(found) != set(LINKS):
        raise SystemExit(f"{VERIFICATION.name} must have a table with a row for each link; found {sorted(found)}.")
    return found


def _row(number: int) -> int:
    return TOP + number * (ROW + GAP)


def _capital(text: str) -> str:
    return text if text.startswith("adaptrt") else text[0].upper() + text[1:]


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="middle">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, lines: list[str], kind: str = "box") -> list[str]:
    middle = y + height / 2 + 5 - 10 * (len(lines) - 1)
    return [
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>',
        *(
            _text(x + width / 2, middle + 20 * index, line, "small" if index else "title")
            for index, line in enumerate(lines)
        ),
    ]


def _arrow(x: float, top: float, bottom: float) -> list[str]:
    """A step of the conversion."""
    tip = bottom - 2
    return [
        f'<path class="arrow" d="M{x:g} {top + 1:g}V{tip - 5:g}"/>',
        f'<path class="head" d="M{x - 5:g} {tip - 7:g}L{x + 5:g} {tip - 7:g}L{x:g} {tip:g}z"/>',
    ]


def _comparison(number: int, y: float, left: float, right: float, finds: str) -> list[str]:
    """The number of the link on a line between what it compares, and below what it finds."""
    middle, height = (left + right) / 2, y + 15
    lines = textwrap.wrap(f"finds {finds}", CHARACTERS)
    return [
        f'<path class="line" d="M{left + 4:g} {height:g}H{middle - 15:g}M{middle + 15:g} {height:g}H{right - 4:g}"/>',
        f'<circle class="badge" cx="{middle:g}" cy="{height:g}" r="12"/>',
        _text(middle, height + 4.5, str(number), "number"),
        *(_text(middle, height + 28 + 15 * index, line, "small") for index, line in enumerate(lines)),
    ]
