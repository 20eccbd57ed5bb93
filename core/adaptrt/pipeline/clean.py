"""The graph passes of a conversion on any ONNX file, checked: the same results before and after in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import DependencyError, GraphError, VerificationError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.pipeline.layers.request import InputRequest
from adaptrt.pipeline.layers.samples import input_samples, spec_for
from adaptrt.pipeline.layers.subjects import precision_of
from adaptrt.pipeline.output import output_error, publish, require_file, require_no_input
from adaptrt.pipeline.verification.samples import sample_shapes
from adaptrt.report import Check, PassRecord
from adaptrt.specs.backends import OpenOptions, onnx_backend, target_named
from adaptrt.store.workspace import created_folder, workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec, Precision
    from adaptrt.specs.runners import Runner
    from adaptrt.specs.tensors import Arrays


@dataclass(frozen=True, kw_only=True)
class CleanRequest:
    """``target``: lower the opset if this TensorRT generation needs it; ``simplify``: also run onnxsim."""

    source: Path
    output: Path
    simplify: bool = True
    target: str | None = None
    inputs: InputRequest = field(default_factory=lambda: InputRequest(samples=3))
    custom_ops: tuple[Path, ...] = ()


@dataclass
class Cleaned:
    """The file that was written. ``operators`` maps ``before`` and ``after`` to the count of each operator; ``checks`` are the
    differences of its outputs from those of the source on ``samples``."""

    output: str
    passes: list[PassRecord]
    operators: dict[str, dict[str, int]]
    checks: list[Check]
    samples: str

    @property
    def nodes(self) -> tuple[int, int]:
        """The number of nodes before and after."""
        return sum(self.operators["before"].values()), sum(self.operators["after"].values())


def clean(request: CleanRequest) -> Cleaned:
    """Write the file if its results are the same; a ``VerificationError`` names the output that is not."""
    missing = [name for name in ("onnx", "onnx_ir", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"Graph passes require {' and '.join(missing)}.", hint="Install them: pip install 'adaptrt[export]'"
        )
    require_no_input(request.output, [request.source.resolve()])
    require_file(request.output)
    files = OnnxFiles()
    outline = files.outline(request.source)
    spec = spec_for(outline, request.inputs)
    parent = request.output.parent
    try:
        with created_folder(parent), workspace(parent, request.output.stem) as folder:
            path = folder / "cleaned.onnx"
            passes, operators = _rewrite(request, spec, path)
            checks, described = _compare(request, spec, precision_of(outline), path)
            publish({request.output: path}, folder)
    except OSError as error:
        raise output_error(error, parent) from error
    return Cleaned(str(request.output), passes, operators, checks, described)


def _rewrite(request: CleanRequest, spec: ModelSpec, path: Path) -> tuple[list[PassRecord], dict[str, dict[str, int]]]:
    from adaptrt.graph.lint import annotate_sources, read_source_locations
    from adaptrt.graph.lint.source_locations import source_location_of
    from adaptrt.graph.model_file import count_operators, read_model, write_model
    from adaptrt.graph.passes import standard_passes
    from adaptrt.graph.run_passes import run_passes
    from adaptrt.plugins.facade import Contributed

    graph = read_model(request.source)
    before = count_operators(graph)
    locations = read_source_locations(graph)
    for node in graph.graph.all_nodes():
        location = source_location_of(node)
        if location is not None:
            locations.update({str(value.name): location for value in node.outputs})
    passes = standard_passes(
        with_onnxsim=request.simplify,
        shapes=spec.trace_shapes,
        target=target_named(request.target) if request.target else None,
    )
    ordered = sorted(passes, key=lambda one: one.order)
    graph, records = run_passes(graph, [Contributed(one, "core") for one in ordered])
    annotate_sources(graph, locations)
    write_model(graph, path)
    return records, {"before": before, "after": count_operators(graph)}


def _compare(request: CleanRequest, spec: ModelSpec, precision: Precision, path: Path) -> tuple[list[Check], str]:
    """Both files in ONNX Runtime, at every shape to check. The source has to be deterministic."""
    from adaptrt.verify.compare import Comparison
    from adaptrt.vision.examples import example_arrays

    samples, described = input_samples(request.inputs, spec)
    if request.inputs.file is None:  # and at the smallest and largest sizes
        others = sample_shapes(spec)[1:]
        seeds = range(request.inputs.seed + len(samples), request.inputs.seed + len(samples) + len(others))
        samples += [
            example_arrays(spec, shapes, seed, request.inputs.image) for seed, shapes in zip(seeds, others, strict=True)
        ]
        described += f", {len(others)} other shapes" if others else ""
    options = OpenOptions(custom_ops=request.custom_ops, optimize=False)
    with closing(onnx_backend().open(request.source, options)) as before:
        wanted = _outputs(before, samples, request.source)
        again = _outputs(before, samples[:1], request.source)
    if _differs(wanted[0], again[0]):
        raise GraphError(
            f"{request.source.name} is not deterministic: two runs with the same inputs differ, so its results cannot be checked.",
            hint="Remove the operators that draw random numbers.",
        )
    with closing(onnx_backend().open(path, options)) as after:
        given = _outputs(after, samples, request.output)
    comparison = Comparison(spec, precision, usual=wanted)
    for one, other in zip(wanted, given, strict=True):
        comparison.add(one, other)
    checks = comparison.checks()
    failed = next((check for check in checks if not check.passed), None)
    if failed is not None:
        raise VerificationError(
            f"The passes change the results: {failed.title} {failed.value:.3g}, at most {failed.limit or 0:.3g} is accepted.",
            hint="Try --no-simplify. Nothing was written.",
        )
    return checks, described


def _outputs(runner: Runner, samples: Sequence[Arrays], file: Path) -> list[dict[str, NDArray[Any]]]:
    from adaptrt.errors import AdaptrtError

    try:
        return [runner.run(sample) for sample in samples]
    except AdaptrtError as error:
        raise GraphError(
            f"{file.name} does not run: {error.message}", hint=error.hint or "Check its inputs: --shape."
        ) from error


def _differs(first: Arrays, second: Arrays) -> bool:
    import numpy as np

    return any(
        not np.array_equal(array, second[name], equal_nan=array.dtype.kind in "fc") for name, array in first.items()
    )
