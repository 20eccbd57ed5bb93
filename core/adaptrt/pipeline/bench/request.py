"""What to measure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adaptrt.errors import UsageError
from adaptrt.pipeline.bench.records import Peak
from adaptrt.pipeline.reference import Origin
from adaptrt.request import ShapeRequest
from adaptrt.specs.backends import OpenOptions

EAGER, COMPILED = "eager", "compile"
SOURCE_MODEL = (EAGER, COMPILED)  # words that stand for the model that a file was converted from
CudaGraphs = Literal["on", "off", "both"]


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """Files to measure side by side; the first is the baseline.

    - ``files``: any file that a backend opens, or ``eager`` or ``compile`` (``torch.compile``) with ``origin``: the model that the
      first other file was converted from
    - ``batches``: images per call; empty: 1, or what the files are fixed to
    - ``threads``: how many threads call the model at the same time (not the CPU threads of one call: ``options.threads``)
    - ``image``: what is run on; ``None``: image-like noise of 1280 x 720 pixels
    - ``shapes``: for files without a spec; of a file with one, within what it supports
    - ``seconds`` of each measurement, divided into ``turns``
    - ``cuda_graphs``: of engines; ``both`` measures each engine twice
    - ``gpu_peak``: the peak of the GPU; ``None``: it is measured
    - ``max_regression``: how much slower than the first a file may be, as a fraction
    """

    files: tuple[str, ...]
    batches: tuple[int, ...] = ()
    threads: tuple[int, ...] = (1,)
    image: Path | None = None
    shapes: ShapeRequest = field(default_factory=ShapeRequest)
    seconds: float = 2.0
    turns: int = 20
    cuda_graphs: CudaGraphs = "on"
    origin: Origin | None = None
    gpu_peak: Peak | None = None
    options: OpenOptions = field(default_factory=OpenOptions)
    plugins_file: Path | None = None
    max_regression: float | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if not self.files:
            raise UsageError("No file specified.", hint="For example: adaptrt bench best.onnx best.engine")
        for name, sizes in (("--batch", self.batches), ("--threads", self.threads)):
            if any(size < 1 for size in sizes):
                raise UsageError(f"{name} must be at least 1; got {min(sizes)}.", hint=f"For example: {name} 1,8")
        if self.turns < 1:
            raise UsageError(f"--turns must be at least 1; got {self.turns}.", hint="For example: --turns 20")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"--seconds must be above 0; got {self.seconds:g}.", hint="For example: --seconds 2")
        if self.cuda_graphs not in ("on", "off", "both"):
            raise UsageError(f"--cuda-graphs must be on, off or both; got {self.cuda_graphs!r}.")
        if self.max_regression is not None:
            if not (math.isfinite(self.max_regression) and self.max_regression >= 0):
                raise UsageError("--max-regression must be 0 or more.", hint="For example: --max-regression 3%")
            if len(self.files) < 2:
                raise UsageError(
                    f"--max-regression requires two files to compare; got only {self.files[0]}.",
                    hint="For example: adaptrt bench old.engine new.engine --max-regression 3%",
                )
        if all(file in SOURCE_MODEL for file in self.files):
            raise UsageError(
                f"{self.files[0]} requires a file that was converted from the model.",
                hint="For example: adaptrt bench eager best.onnx",
            )
