"""The results of a sweep side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from adaptrt.sweep.bench import Latency
from adaptrt.sweep.run import Outcome

Status: TypeAlias = Literal["verified", "partly verified", "not verified", "failed"]


@dataclass(frozen=True)
class SweptConversion:
    """``difference``: the largest of links 2 and 3, as a share of its limit; ``metric``: the lowest of links 3 and 5. ``latency`` and
    ``call_latency``: milliseconds, of the file alone and of a call on decoded images, with [bench]. ``null``: not measured.
    ``text``: the error of a failed conversion or measurement."""

    name: str
    model: str
    values: dict[str, str]
    status: Status
    nodes: int | None
    seconds: float
    difference: float | None
    metric: float | None
    bytes: int | None
    latency: float | None
    call_latency: float | None
    text: str


def rows_of(outcomes: Sequence[Outcome]) -> list[SweptConversion]:
    return [_row(outcome) for outcome in outcomes]


def _row(outcome: Outcome) -> SweptConversion:
    report = outcome.report
    verdict = report.get("verdict") or {}
    error = report.get("error") or {}
    failed = outcome.code != 0
    latency = outcome.latency or Latency()
    return SweptConversion(
        name=outcome.cell.name,
        model=outcome.cell.model,
        values=dict(outcome.cell.values),
        status="failed" if failed else verdict.get("word") or "failed",
        nodes=_nodes(report),
        seconds=outcome.seconds,
        difference=_largest_share(report, (2, 3)),
        metric=_lowest_metric(report),
        bytes=sum(int(one.get("bytes", 0)) for one in (report.get("files") or {}).values()) or None,
        latency=latency.file,
        call_latency=latency.call,
        text=str(error.get("message") or (f"exit code {outcome.code}; see the log" if failed else latency.error)),
    )


def _nodes(report: Mapping[str, Any]) -> int | None:
    """Of the last graph that was counted."""
    operators = report.get("operators") or {}
    return sum(list(operators.values())[-1].values()) if operators else None


def _checks(report: Mapping[str, Any], numbers: Sequence[int]) -> list[Mapping[str, Any]]:
    return [check for link in report.get("links") or () if link["number"] in numbers for check in link["checks"]]


def _largest_share(report: Mapping[str, Any], numbers: Sequence[int]) -> float | None:
    """Of the differences, whose limit is a maximum."""
    shares = [
        float("inf") if check["value"] is None else check["value"] / check["limit"]
        for check in _checks(report, numbers)
        if not _is_metric(check) and check["limit"]
    ]
    return max(shares, default=None)


def _lowest_metric(report: Mapping[str, Any]) -> float | None:
    values = [check["value"] for check in _checks(report, (3, 5)) if _is_metric(check) and check["value"] is not None]
    return min(values, default=None)


def _is_metric(check: Mapping[str, Any]) -> bool:
    return check.get("kind") == "metric"
