"""The request of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptrt.errors import UsageError
from adaptrt.specs.adoption import Adoption
from adaptrt.specs.backends import OpenOptions


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """One evaluation as the user requested it.

    - ``backends``: names, the first is the baseline; empty: those of the files
    - ``batch``: batch size; ``None``: the spec's opt size. ``limit``: maximum number of images, spread over the data
    - ``params`` of the decoder and, for eager, of the adapter
    - ``adapter``, ``source``, ``weights`` and ``trust_checkpoint``, for eager: as passed to ``convert``
    - ``adoption``: the user's description of files that adaptrt did not write
    - ``images``: the folder of the images, if the task's data set has them elsewhere
    - ``options``: how files are opened; a backend that does not run on their device uses its default
    - ``score``: whether scores are computed
    """

    files: tuple[Path, ...]
    data: Path
    images: Path | None = None
    backends: tuple[str, ...] = ()
    batch: int | None = None
    limit: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    options: OpenOptions = field(default_factory=OpenOptions)
    adoption: Adoption | None = None
    adapter: str | None = None
    source: str | None = None
    weights: Path | None = None
    trust_checkpoint: bool = False
    plugins_file: Path | None = None
    score: bool = True

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(
                f"--limit must be at least 1; got {self.limit}.", hint="Use a larger value, or remove --limit."
            )
