"""The thresholds of ``predict`` and ``evaluate`` as separate options: short forms of ``--set``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from adaptrt.cli.framework import option
from adaptrt.cli.shared_flags import F, in_order

_NAMES = ("conf", "iou", "max_det", "classes")


def decoder_flags(section: str) -> Callable[[F], F]:
    """``--conf``, ``--iou``, ``--max-det`` and ``--classes``, as parameters ``conf``, ``iou``, ``max_det``, ``classes``."""
    return in_order(
        option("--conf", "--conf-thres", "conf", type=click.FloatRange(0, 1), metavar="SCORE", section=section, help="Minimum score of a detection.  [default: the file's]"),
        option("--iou", "--iou-thres", "iou", type=click.FloatRange(0, 1), metavar="IOU", section=section, help="IoU threshold of NMS.  [default: the file's]"),
        option("--max-det", type=click.IntRange(min=1), metavar="N", section=section, help="Maximum number of detections for an image.  [default: the file's]"),
        option("--classes", metavar="A,B", section=section, help="Keep only these classes, by name or number."),
    )  # fmt: skip


def decoder_params(pairs: tuple[str, ...], flags: Mapping[str, Any]) -> dict[str, str]:
    """``--set`` and the options above as one mapping; ``flags`` has the latter by name.

    A ``UsageError`` names a parameter that is given in both forms with different values.
    """
    from adaptrt.errors import UsageError
    from adaptrt.options import parse_pairs

    params = dict(parse_pairs(pairs))
    for name in _NAMES:
        value = flags[name]
        if value is None:
            continue
        text = _as_list(value) if name == "classes" else str(value)
        if params.setdefault(name, text) != text:
            option_name = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option_name} {value} and --set {name}={params[name]} conflict.",
                hint=f"Omit --set {name}.",
            )
    return params


def _as_list(text: str) -> str:
    """``person,2`` as the JSON list that ``--set classes=`` takes."""
    import json

    words = [word.strip() for word in text.split(",") if word.strip()]
    return json.dumps([int(word) if word.isdecimal() else word for word in words])
