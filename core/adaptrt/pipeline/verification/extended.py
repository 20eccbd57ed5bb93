"""Part of link 2: the file with what was added to the verified network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.pipeline import links
from adaptrt.pipeline.verification.verify import verify

if TYPE_CHECKING:
    from adaptrt.pipeline.artifacts import Artifact
    from adaptrt.pipeline.job import Job
    from adaptrt.specs import ModelSpec


def verify_extended(job: Job, artifact: Artifact, spec: ModelSpec, what: str) -> None:
    """Compare every sample in ONNX Runtime; ``what`` was added, as the report names it."""
    if job.request.verify == "none":
        return
    link = job.report.link(2)
    with job.timed(f"link 2 with {what}", verifying=True) as stage:
        with links.guarded(link):
            found = verify(job, artifact, spec)
        stage.note = found.note
        if found.checks:
            links.record_link(link, [*found.checks, *found.invariance])
