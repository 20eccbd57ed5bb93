"""Compares the tensors of several forms of a model with those of the first."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import ModelError, UsageError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.pipeline.layers.alignment import Aligned, align_subjects
from adaptrt.pipeline.layers.records import LayerComparison, PairComparison, TensorRow, in_graph_order
from adaptrt.pipeline.layers.request import ALL, BISECT, EAGER, CompareRequest
from adaptrt.pipeline.layers.samples import input_samples, renamed, spec_for
from adaptrt.pipeline.layers.search import bisect
from adaptrt.pipeline.layers.subjects import (
    EagerSubject,
    GraphSubject,
    ResultsSubject,
    Subject,
    open_file,
)
from adaptrt.pipeline.reference import load_network, origin_missing
from adaptrt.specs import ModelSpec, OutputSpec
from adaptrt.store.model_files import require_backend, require_model_file
from adaptrt.verify.compare import Comparison
from adaptrt.verify.differences import difference_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.graph.tensors import GraphTensor
    from adaptrt.specs.tensors import Arrays

Progress = Callable[[str, int, int], None]
CHUNK = 64  # tensors of an ONNX file that are in memory at a time


def compare(request: CompareRequest, progress: Progress = lambda *_: None) -> LayerComparison:
    """Run every form on the same inputs. A ``UsageError`` says what is missing to look inside a form."""
    with ExitStack() as stack:
        workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adaptrt-compare-")))
        subjects = _open(request, workdir)
        for subject in subjects:
            stack.callback(subject.close)
        graph = next((one for one in subjects if isinstance(one, GraphSubject)), None)
        if graph is None:
            raise UsageError(
                "None of the files has a graph that defines the order of its tensors.",
                hint="Add an ONNX file: adaptrt compare A.json best.onnx",
            )
        spec = spec_for(graph.outline, request.inputs)
        samples, described = input_samples(request.inputs, spec)
        if any(isinstance(one, ResultsSubject) for one in subjects) and request.inputs.file is None:
            raise UsageError(
                "Results of Polygraphy can only be compared on the inputs that they were computed from.",
                hint="Save the inputs too, and pass them: polygraphy run --save-inputs inputs.json; --inputs inputs.json",
            )
        for subject in subjects:
            names = subject.inputs if isinstance(subject, GraphSubject) else list(samples[0])
            subject.samples = renamed(samples, names)
        found = LayerComparison(described, command=request.command)
        kept: dict[str, list[dict[str, NDArray[Any]]]] = {}
        for subject in subjects[1:]:
            pair = _Pair(subjects[0], subject, spec, request, progress)
            found.pairs.append(pair.run())
            if request.save_results is not None:
                pair.keep(kept)
        if request.save_inputs is not None:
            from adaptrt.pipeline.layers.polygraphy import write_inputs

            write_inputs(request.save_inputs, samples)
        if request.save_results is not None:
            from adaptrt.pipeline.layers.polygraphy import write_results

            write_results(request.save_results, kept)
    return found


def _open(request: CompareRequest, workdir: Path) -> list[Subject]:
    files, subjects = OnnxFiles(), list[Subject]()
    for number, name in enumerate(request.files):
        folder = workdir / str(number)
        folder.mkdir()
        if name == EAGER:
            subjects.append(_eager(request))
            continue
        path = Path(name)
        require_model_file(path)
        if path.suffix.lower() == ".json":
            subjects.append(ResultsSubject(path))
            continue
        backend = require_backend(path)
        subjects.append(open_file(path, backend, request.options, folder, files, request.onnx, request.precision))
    return subjects


def _eager(request: CompareRequest) -> EagerSubject:
    """The source model at the shapes of the first file that has a spec."""
    from adaptrt.pipeline.layers.subjects import origin_of

    for name in request.files:
        path = Path(name)
        if name == EAGER or path.suffix.lower() == ".json":
            continue
        require_model_file(path)
        backend = require_backend(path)
        source = path
        if path.suffix.lower() != ".onnx":
            source = request.onnx or path.with_name(Path(origin_of(path, backend, None).onnx).name)
            require_model_file(source)
        if request.origin is None:
            raise origin_missing(path, shlex.split(request.command) or ["adaptrt", "compare"])
        spec = OnnxFiles().outline(source).spec
        if spec is None:
            raise ModelError(
                f"{source.name} has no adaptrt spec, so its source model cannot be run on the same inputs.",
                hint="Compare with a file that adaptrt convert wrote.",
            )
        spec = request.inputs.shapes.apply(spec)[0]
        if spec.image is not None and spec.image.embedded:
            raise UsageError(
                f"{path.name} takes pixels, but the source model does not.",
                hint="Convert without --embed-preprocess to compare with the source model.",
            )
        return EagerSubject(load_network(path, spec, request.origin, plugins_file=request.plugins_file), spec)
    raise UsageError(
        "eager is compared with a file that was converted from it.", hint="For example: adaptrt compare eager best.onnx"
    )


class _Pair:
    """One form, compared with the reference."""

    def __init__(
        self, reference: Subject, subject: Subject, spec: ModelSpec, request: CompareRequest, progress: Progress
    ) -> None:
        self._reference, self._subject, self._progress = reference, subject, progress
        self._spec, self._request = spec, request
        lower = reference.precision.bits < subject.precision.bits
        self._precision = reference.precision if lower else subject.precision
        self._aligned: Aligned = align_subjects(reference, subject)
        self._order = {tensor.name: position for position, tensor in enumerate(self._aligned.tensors)}
        self._described = self._descriptions()
        self._rows: dict[str, TensorRow] = {}
        self._unlike: list[str] = []

    def run(self) -> PairComparison:
        aligned, search = self._aligned, self._search()
        found = PairComparison(
            self._reference.title,
            self._subject.title,
            self._precision.name,
            search,
            aligned=len(aligned.inside) + len(aligned.outputs),
            tensors=sum(tensor.computes for tensor in aligned.tensors),
        )
        if not aligned.outputs:
            found.notes.append("the outputs have different names and numbers, and were not compared")
        outputs = self._judge(list(aligned.outputs), output=True) if aligned.outputs else {}
        if search == BISECT:
            bisect(aligned.tensors, outputs, aligned.inside, self._judge, self._request.at_once)
        else:
            inside = aligned.inside if search == ALL else self._named()
            size = len(inside) if self._builds else CHUNK
            for start in range(0, len(inside), max(size, 1)):
                self._progress(f"{self._subject.title}: tensors", start, len(inside))
                self._judge(inside[start : start + size])
        found.rows = in_graph_order(list(self._rows.values()))
        found.builds = self._subject.builds + self._reference.builds
        found.notes += [*aligned.notes, *self._notes(found)]
        return found

    def keep(self, kept: dict[str, list[dict[str, NDArray[Any]]]]) -> None:
        """Add what was compared, as results by form."""
        own = list(self._rows)
        for subject, names in (
            (self._reference, [self._name(name) for name in own]),
            (self._subject, own),
        ):
            kept.setdefault(subject.title, [{} for _ in subject.samples])
            for sample, content in enumerate(kept[subject.title]):
                for part in _parts(names, subject.outputs):
                    content.update(subject.run(part, sample))

    @property
    def _builds(self) -> bool:
        return self._subject.builds_to_look or self._reference.builds_to_look

    def _search(self) -> str:
        wanted = self._request.outputs
        if not wanted:
            return BISECT if self._builds else ALL
        return wanted[0] if wanted[0] in (ALL, BISECT) and len(wanted) == 1 else "named"

    def _named(self) -> list[str]:
        from adaptrt.graph.tensors import require_tensors

        subject = self._subject
        file = str(subject.path) if isinstance(subject, GraphSubject) else subject.title
        names = require_tensors(self._request.outputs, self._aligned.tensors, file)
        missing = next((name for name in names if name not in {*self._aligned.names, *self._aligned.outputs}), None)
        if missing is not None:
            raise UsageError(
                f"Tensor {missing!r} is not in {self._reference.title}, or is not a floating-point tensor.",
                hint="To list what exists in both: --outputs all --json",
            )
        return [name for name in names if name not in self._aligned.outputs]

    def _name(self, name: str) -> str:
        return self._aligned.outputs.get(name) or self._aligned.names[name]

    def _descriptions(self) -> Mapping[str, GraphTensor]:
        """Each tensor as the reference's graph describes it, which no precision has changed; else as the subject's does."""
        found = {tensor.name: tensor for tensor in self._aligned.tensors}
        if isinstance(self._reference, GraphSubject):
            own = {tensor.name: tensor for tensor in self._reference.tensors}
            for name, tensor in list(found.items()):
                other = own.get(self._aligned.outputs.get(name) or self._aligned.names.get(name, ""))
                if other is not None and (not tensor.computes or not tensor.module):
                    found[name] = other
        return found

    def _judge(self, names: Sequence[str], *, output: bool = False) -> dict[str, bool]:
        """Compare these tensors on every sample; whether each is within its limit. One of another shape is not compared."""
        reference: list[dict[str, NDArray[Any]]] = []
        for sample in range(len(self._subject.samples)):
            theirs = self._reference.run([self._name(name) for name in names], sample)
            reference.append({name: theirs[self._name(name)] for name in names})
        comparisons = {name: self._comparison(name, reference) for name in names}
        left = dict.fromkeys(names, True)
        for sample, wanted in enumerate(reference):
            given = self._subject.run(list(names), sample)
            for name in [name for name in names if name in left]:
                if wanted[name].shape != given[name].shape and not output:
                    self._unlike.append(name)
                    del left[name]
                    continue
                comparisons[name].add({name: wanted[name]}, given)
                self._note(name, wanted[name], given[name], output=output)
        for name in left:
            checks = comparisons[name].checks()
            shares = [_used(check.value, check.limit) for check in checks]
            worst = max(range(len(checks)), key=shares.__getitem__)
            row = self._rows[name]
            row.used, row.limit, row.reason = shares[worst], checks[worst].limit or 0.0, checks[worst].reason
            left[name] = row.passed
        return left

    def _comparison(self, name: str, reference: Sequence[Arrays]) -> Comparison:
        """With the groups of the spec for an output, so that the limits are those of the links."""
        own = next((output for output in self._spec.outputs if output.name == name), None)
        spec = replace(self._spec, outputs=(own if own is not None else OutputSpec(name),))
        return Comparison(spec, self._precision, usual=reference)

    def _note(self, name: str, wanted: NDArray[Any], given: NDArray[Any], *, output: bool) -> None:
        tensor = self._described.get(name)
        other = self._name(name)
        row = self._rows.setdefault(
            name,
            TensorRow(
                name,
                self._order.get(name, len(self._order)),
                tensor.operator if tensor else "",
                tensor.node if tensor else "",
                tensor.module if tensor else "",
                tensor.source if tensor else None,
                other if other != name else "",
                output,
                tuple(wanted.shape),
            ),
        )
        if wanted.shape != given.shape:
            row.max = row.mean = row.relative = float("inf")
            return
        difference = difference_of(wanted, given)
        if difference.max >= row.max:
            row.max, row.mean = difference.max, difference.mean
            row.relative, row.cosine = difference.relative, difference.cosine

    def _notes(self, found: PairComparison) -> Iterator[str]:
        yield from self._reference.notes
        yield from self._subject.notes
        if self._unlike:
            yield f"tensors of another shape were not compared: {len(self._unlike)}, such as {self._unlike[0]}"
        inside = [row for row in found.rows if not row.output]
        if found.first is not None and found.outputs_agree and any(row.output for row in found.rows):
            yield (
                "the outputs agree: a tensor inside that is beyond its limit was computed differently on purpose, or its difference "
                "does not matter for the result"
            )
        if self._precision.form == "qdq":
            yield "int8: distances are compared with the limits of int8, but only a metric on images says whether the file is good"
        if not inside and found.search != "named" and not found.outputs_agree:
            yield "no tensor inside exists in both, so only the outputs were compared"


def _used(value: float, limit: float | None) -> float:
    if not value:
        return 0.0
    return value / limit if limit else float("inf")


def _parts(names: Sequence[str], outputs: Sequence[str]) -> list[list[str]]:
    """Outputs, and tensors inside in chunks."""
    own, inside = [name for name in names if name in outputs], [name for name in names if name not in outputs]
    return [part for part in [own, *(inside[start : start + CHUNK] for start in range(0, len(inside), CHUNK))] if part]
