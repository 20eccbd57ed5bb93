"""A report as MLflow parameters, metrics and tags. Does not import MLflow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from adaptrt import Report, Request

_LENGTH = 250  # of a key, in every MLflow


def params_of(request: Request, report: Report) -> dict[str, str]:
    """The request, and the values that were chosen for it."""
    params: dict[str, object] = {
        "adapter": report.adapter,
        "source": report.source,
        "weights": report.weights,
        "precision": request.precision,
        "target": request.target,
        "verify": request.verify,
        "exporter": report.exporter or request.exporter,
        "opset": report.opset or request.opset,
        **{f"set.{key}": value for key, value in report.options.items()},
    }
    for tensor in report.spec.inputs if report.spec else ():
        params[f"shape.{tensor.name}"] = " and ".join("x".join(map(str, shape)) for shape in tensor.profiles)
    return {_key(name): str(value) for name, value in params.items() if value not in (None, "")}


def metrics_of(report: Report) -> dict[str, float]:
    """Each check of each link, node counts, seconds of the stages, sizes of the files."""
    found: list[tuple[str, float]] = []
    for link in report.links:
        found += [(f"link_{link.number}/{_plain(check.title)}", check.value) for check in link.checks]
    found += [(f"nodes/{_plain(stage)}", sum(counts.values())) for stage, counts in report.operators.items()]
    found += [(f"seconds/{_plain(stage.name)}", stage.seconds) for stage in report.stages]
    found.append(("seconds/total", report.seconds))
    found += [(f"bytes/{_plain(kind)}", file.bytes) for kind, file in report.files.items()]
    for artifact in report.artifacts:
        found += [(f"{_plain(artifact.name)}/{_plain(key)}", value) for key, value in _numbers(artifact.record)]
    return _distinct(found)


def tags_of(report: Report) -> dict[str, str]:
    """The status of the conversion and of each link, and the active plugins."""
    tags = {
        "adaptrt.status": report.status,
        "adaptrt.command": report.command,
        "adaptrt.cached": report.cached,
        **{f"adaptrt.link_{link.number}": link.status for link in report.links},
        **{f"plugin.{name}": source for name, source in report.plugins.items() if source != "adaptrt"},
        **{f"version.{name}": version for name, version in report.environment.items()},
    }
    if report.failure is not None:
        tags |= {
            "adaptrt.failure": report.failure.kind,
            "adaptrt.failure.message": report.failure.message,
            "adaptrt.failure.stage": report.failure.stage,
        }
    return {_key(name): value for name, value in tags.items() if value}


def _numbers(record: Any) -> list[tuple[str, float]]:
    """All numbers that a backend recorded for its file."""
    items = record.items() if isinstance(record, Mapping) else ()
    return [(str(key), value) for key, value in items if type(value) in (int, float)]


def _distinct(found: list[tuple[str, float]]) -> dict[str, float]:
    """Append numbers to names that MLflow would treat as the same."""
    metrics: dict[str, float] = {}
    for name, value in found:
        key, number = name[:_LENGTH], 2
        while key in metrics:
            key, number = f"{name[: _LENGTH - 8]} {number}", number + 1
        metrics[key] = float(value)
    return metrics


def _key(name: str) -> str:
    return "/".join(map(_plain, name.split("/")))[:_LENGTH]


def _plain(name: str) -> str:
    """Only characters that every MLflow version accepts in a name; no slash, which creates a group."""
    return re.sub(r"\s+", " ", re.sub(r"[^\w.\- ]", " ", name, flags=re.ASCII)).strip(" .") or "unnamed"
