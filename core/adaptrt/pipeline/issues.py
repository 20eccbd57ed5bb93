"""Known problems of a backend with the graph at hand, named before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.backends.choice import Chosen, target_for, target_of
from adaptrt.quantities import listed
from adaptrt.specs.backend_parts import KnowsIssues

if TYPE_CHECKING:
    from adaptrt.pipeline.job import Job


def name_known_issues(job: Job, chosen: Sequence[Chosen], path: Path) -> None:
    """Warn of the issues that the graph matches, for each backend that builds here. Without onnx, nothing is looked for."""
    if find_spec("onnx_ir") is None or find_spec("onnx") is None:
        return
    from adaptrt.graph.known_issues import Platform, matching_issues
    from adaptrt.graph.model_file import graph_of

    for one in chosen:
        backend, device = one.backend, job.request.build.device
        target = target_for(backend, target_of(job.request))
        if not isinstance(backend, KnowsIssues) or backend.unavailable(target, device) is not None:
            continue
        platform = Platform(**backend.issue_platform(target, device), precision=job.precision.name)
        for issue, nodes in matching_issues(graph_of(path, job.onnx), platform):
            job.warn(f"Known issue {issue.name} ({listed(nodes, 1)}): {issue.text} {issue.advice} {issue.source}")
