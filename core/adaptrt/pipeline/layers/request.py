"""What to compare, and what to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adaptrt.errors import UsageError
from adaptrt.pipeline.reference import Origin
from adaptrt.request import ShapeRequest
from adaptrt.specs.backends import OpenOptions

EAGER = "eager"
ALL, BISECT = "all", "bisect"


@dataclass(frozen=True, kw_only=True)
class InputRequest:
    """What the forms are run on: ``file`` (``.npz``, or Polygraphy's JSON), ``image``, else ``samples`` seeded ones.

    ``shapes``: for files without a spec, or another size.
    """

    image: Path | None = None
    file: Path | None = None
    samples: int = 1
    seed: int = 0
    shapes: ShapeRequest = field(default_factory=ShapeRequest)

    def __post_init__(self) -> None:
        if self.image is not None and self.file is not None:
            raise UsageError("--image and --inputs conflict.", hint="Specify one of them.")
        if self.samples < 1:
            raise UsageError(f"--samples must be at least 1; got {self.samples}.", hint="For example: --samples 3")


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """Forms of a model, the first of which is the reference.

    - ``files``: ONNX files, files of a backend, results of Polygraphy (``.json``), or ``eager``
    - ``outputs``: ``all``, ``bisect``, or names of tensors, nodes or modules; empty: ``all`` unless files are built for it
    - ``origin``: the source model of ``eager``
    - ``onnx``: what a built file was built from, where that is not recorded; ``precision``: how
    - ``at_once``: how many tensors a round of the bisection looks at
    """

    files: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    inputs: InputRequest = field(default_factory=InputRequest)
    origin: Origin | None = None
    onnx: Path | None = None
    precision: str | None = None
    at_once: int = 8
    options: OpenOptions = field(default_factory=OpenOptions)
    plugins_file: Path | None = None
    save_inputs: Path | None = None
    save_results: Path | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if len(self.files) < 2:
            raise UsageError(
                "compare requires at least two forms of a model.",
                hint="For example: adaptrt compare best.onnx best.fp16.onnx",
            )
        if self.at_once < 1:
            raise UsageError(f"--at-once must be at least 1; got {self.at_once}.", hint="For example: --at-once 8")
        if self.files.count(EAGER) > 1 or EAGER in self.files[1:]:
            raise UsageError(
                "eager is the reference of a comparison.", hint="Write it first: adaptrt compare eager FILE"
            )
