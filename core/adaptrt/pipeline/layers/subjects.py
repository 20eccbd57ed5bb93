"""The forms of a model whose tensors are compared: each returns any of its tensors by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.backends.choice import default_target, target_for
from adaptrt.errors import ModelError, UsageError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.pipeline.beside import is_replaced, report_of
from adaptrt.specs import BuildOptions, ModelSpec, OutputSpec, Precision, precision_named
from adaptrt.specs.backend_calls import build_file, open_runner
from adaptrt.specs.backend_parts import BuildOrigin, KnowsOrigin
from adaptrt.specs.backends import Backend, BackendRequest, OpenOptions, fitting_options, onnx_backend, runs_onnx
from adaptrt.specs.precisions import FP32
from adaptrt.specs.precisions.precision import PRECISIONS

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import nn

    from adaptrt.export.module_outputs import ModuleCall
    from adaptrt.graph.tensors import GraphTensor
    from adaptrt.onnxfile.reader import OnnxFile
    from adaptrt.specs.runners import FileRunner
    from adaptrt.specs.tensors import Arrays

_QUANTIZED = {"QuantizeLinear", "DequantizeLinear"}


class Subject(ABC):
    """A form of a model. ``samples`` are set before it is run: its inputs, by its own names."""

    title: str
    precision: Precision
    samples: Sequence[Arrays] = ()
    builds: int = 0
    builds_to_look: bool = False  # whether a file is built to see what is inside

    @property
    def notes(self) -> list[str]:
        """What a reader of the result should know about this form."""
        return []

    @property
    @abstractmethod
    def outputs(self) -> list[str]:
        """The names of its outputs, in order; empty if they are known only by running it."""

    @abstractmethod
    def run(self, names: Sequence[str], sample: int) -> dict[str, NDArray[Any]]:
        """These tensors for one of the samples."""

    def close(self) -> None:  # noqa: B027 - not every form is open
        """Free what is open."""


class GraphSubject(Subject):
    """A form with a graph, of the file ``path``: ``tensors`` in its order."""

    path: Path
    inputs: list[str]
    outline: OnnxFile  # of the ONNX file, or of the one that the file was built from

    @property
    @abstractmethod
    def tensors(self) -> list[GraphTensor]: ...

    @property
    @abstractmethod
    def graph(self) -> ir.Model: ...

    @property
    def spec(self) -> ModelSpec | None:
        return self.outline.spec

    @property
    def outputs(self) -> list[str]:
        return [tensor.name for tensor in self.outline.outputs]


class OnnxSubject(GraphSubject):
    """An ONNX file in ONNX Runtime. A graph with casts runs in the float32 form that rounds as it does, as for link 3."""

    def __init__(self, path: Path, options: OpenOptions, workdir: Path, files: OnnxFiles) -> None:
        self.path, self.title = path, path.name
        self._options, self._workdir, self._files = options, workdir, files
        self._open: tuple[tuple[str, ...], FileRunner] | None = None
        self._count = 0
        self.outline = files.outline(path)
        self.precision = precision_of(self.outline)
        self.inputs = [tensor.name for tensor in self.outline.inputs]

    @property
    def notes(self) -> list[str]:
        if self.precision.form != "cast":
            return []
        return [f"{self.title} runs in float32 and rounds to {self.precision.onnx_type} after each node"]

    @cached_property
    def graph(self) -> ir.Model:
        from adaptrt.graph.model_file import graph_of

        return graph_of(self.path, self._files)

    @cached_property
    def tensors(self) -> list[GraphTensor]:
        from adaptrt.graph.tensors import graph_tensors

        return graph_tensors(self.graph)

    @cached_property
    def _runnable(self) -> ir.Model:
        from adaptrt.graph.emulation import emulate_low_precision

        if self.precision.form != "cast":
            return self.graph
        copy: ir.Model = self.graph.clone()
        emulate_low_precision(copy)
        return copy

    def run(self, names: Sequence[str], sample: int) -> dict[str, NDArray[Any]]:
        return {name: array for name, array in self._runner(names).run(self.samples[sample]).items() if name in names}

    def _runner(self, names: Sequence[str]) -> FileRunner:
        from adaptrt.graph.tensors import with_outputs

        own = set(names) <= set(self.outputs)
        key = () if own else tuple(names)
        if self._open is not None and self._open[0] == key:
            return self._open[1]
        self.close()
        path = self.path
        if not own or self.precision.form == "cast":
            self._count += 1
            path = self._workdir / f"{self.path.stem}.{self._count}.onnx"
            with_outputs(self._runnable, self.outputs if own else names, path)
        options = replace(self._options, optimize=False) if self.precision.form == "cast" else self._options
        self._open = key, open_runner(onnx_backend(), path, options)
        if path != self.path:
            path.unlink()
        return self._open[1]

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


class BuiltSubject(GraphSubject):
    """A file that a backend built, such as an engine. To read internal tensors, the ONNX file that it was built from is built again with
    more outputs."""

    builds_to_look = True

    def __init__(
        self, path: Path, backend: Backend, onnx: OnnxSubject, origin: BuildOrigin, options: OpenOptions, workdir: Path
    ) -> None:
        self.path, self.title, self._backend, self._onnx = path, path.name, backend, onnx
        self._origin, self._options, self._workdir = origin, options, workdir
        self.precision = precision_named(origin.precision)
        self.inputs, self.outline = onnx.inputs, onnx.outline
        self._file: FileRunner | None = None
        self._probe: tuple[tuple[str, ...], FileRunner] | None = None
        self.doubt = ""

    @property
    def graph(self) -> ir.Model:
        return self._onnx.graph

    @property
    def tensors(self) -> list[GraphTensor]:
        return self._onnx.tensors

    @property
    def notes(self) -> list[str]:
        doubts = [self.doubt] if self.doubt else []
        if not self.builds:
            return doubts
        return [
            *doubts,
            f"{self.builds} {'file was' if self.builds == 1 else 'files were'} built from {self._onnx.title} to see tensors inside "
            f"{self.title}: an output inside keeps {self._backend.title} from fusing across it, so that a difference which "
            "fusing causes can disappear there",
        ]

    def run(self, names: Sequence[str], sample: int) -> dict[str, NDArray[Any]]:
        if set(names) <= set(self.outputs):
            if self._file is None:
                self._file = open_runner(self._backend, self.path, self._options)
            found = self._file.run(self.samples[sample])
            return {name: found[name] for name in names}
        key = tuple(names)
        if self._probe is None or self._probe[0] != key:
            if self._probe is not None:
                self._probe[1].close()
            self._probe = key, self._build(key)
        return self._probe[1].run(self.samples[sample])

    def _build(self, names: tuple[str, ...]) -> FileRunner:
        from adaptrt.graph.tensors import with_outputs

        self.builds += 1
        path = with_outputs(self._onnx.graph, names, self._workdir / f"probe{self.builds}.onnx")
        spec = self.spec
        if spec is None:
            from adaptrt.onnxfile.graph_spec import spec_of_graph

            spec = spec_of_graph(self.outline)
        built = build_file(
            self._backend,
            BackendRequest(
                onnx_path=path,
                output=self._workdir / f"probe{self.builds}{self._backend.suffixes[0]}",
                spec=replace(spec, outputs=tuple(map(OutputSpec, names)), decoder=None),
                precision=self.precision,
                target=target_for(self._backend, default_target()),
                keep_fp32=self._origin.keep_fp32,
                # a record is data: libraries, which are code, are those that the caller names
                options=replace(self._origin.options, plugin_libs=tuple(map(str, self._options.plugin_libs))),
                cache=False,
            ),
        )
        return open_runner(
            self._backend, next(iter(built.files.values())), replace(self._options, allow_host_code=True)
        )

    def close(self) -> None:
        for runner in (self._file, self._probe[1] if self._probe else None):
            if runner is not None:
                runner.close()


class EagerSubject(Subject):
    """The source model, eager. Inside are the results of its modules, by path."""

    title = "eager"
    precision = FP32

    def __init__(self, model: nn.Module, spec: ModelSpec) -> None:
        from adaptrt.export.eager import EagerRunner

        self.model = model
        self._outputs = [output.name for output in spec.outputs]
        self._runner = EagerRunner(model, tuple(self._outputs))

    @property
    def outputs(self) -> list[str]:
        return self._outputs

    def calls(self) -> list[ModuleCall]:
        """The modules whose results can be returned."""
        from adaptrt.export.module_outputs import module_calls

        return module_calls(self.model, lambda: self._runner.run(self.samples[0]))

    def run(self, names: Sequence[str], sample: int) -> dict[str, NDArray[Any]]:
        from adaptrt.export.module_outputs import module_outputs

        found: dict[str, NDArray[Any]] = {}
        inside = [name for name in names if name not in self._outputs]
        found.update(module_outputs(self.model, inside, lambda: found.update(self._runner.run(self.samples[sample]))))
        return {name: found[name] for name in names}


class ResultsSubject(Subject):
    """Results of Polygraphy, which were made for the same inputs."""

    def __init__(self, path: Path) -> None:
        from adaptrt.pipeline.layers.polygraphy import read_results

        runs = read_results(path)
        self._runner, self._iterations = next(iter(runs.items()))
        self.title, self._others = path.name, list(runs)[1:]
        self.precision = FP32
        if not self._iterations or not self._iterations[0]:
            raise ModelError(f"{path.name} contains no outputs.", hint="Write it again: polygraphy run --save-outputs")

    @property
    def notes(self) -> list[str]:
        more = f"; the results of {', '.join(self._others)} are ignored" if self._others else ""
        return [f"{self.title} holds the results of {self._runner}{more}"]

    @property
    def outputs(self) -> list[str]:
        return list(self._iterations[0])

    def run(self, names: Sequence[str], sample: int) -> dict[str, NDArray[Any]]:
        if sample >= len(self._iterations):
            raise UsageError(
                f"{self.title} holds {len(self._iterations)} iterations, but there are {len(self.samples)} inputs.",
                hint="Use the inputs that the results were computed from: polygraphy run --save-inputs inputs.json",
            )
        return {name: self._iterations[sample][name] for name in names}


def open_file(
    path: Path,
    backend: Backend,
    options: OpenOptions,
    workdir: Path,
    files: OnnxFiles,
    onnx: Path | None = None,
    precision: str | None = None,
) -> GraphSubject:
    """A file of a backend. ``onnx`` and ``precision`` replace what is recorded about its build."""
    options = fitting_options(backend, options)
    if runs_onnx(backend):
        subject = OnnxSubject(path, options, workdir, files)
        if precision is not None:
            subject.precision = precision_named(precision)
        return subject
    origin = origin_of(path, backend, precision, onnx)
    source = onnx or path.with_name(Path(origin.onnx).name)
    if not source.is_file():
        raise UsageError(
            f"The ONNX file that {path.name} was built from is unknown: {source.name} is not beside it.",
            hint="Specify it: --onnx best.onnx (the reduced-precision one, if the file was built from that)",
        )
    inside = OnnxSubject(source, replace(options, device=None), workdir, files)
    built = BuiltSubject(path, backend, inside, origin, options, workdir)
    if onnx is None and is_replaced(source, origin, files):
        # not an error: an option of a build may have changed the file first
        built.doubt = (
            f"{source.name} is not identical to the file that {path.name} was built from: it may be another model "
            "(--onnx names the right one)"
        )
    return built


def origin_of(path: Path, backend: Backend, precision: str | None, onnx: Path | None = None) -> BuildOrigin:
    """What a file was built from: what its backend recorded, else the report beside it, else an ONNX file of its name."""
    found = backend.origin_of(path) if isinstance(backend, KnowsOrigin) else None
    if found is None:
        report = report_of(path)
        records = report.files if report is not None else {}
        record = records.get("reduced") or records.get("onnx")
        suffix = next((one for one in backend.suffixes if path.name.lower().endswith(one)), path.suffix)
        name = Path(record.path).name if record is not None else f"{path.name[: -len(suffix)]}.onnx"
        found = BuildOrigin(onnx=onnx.name if onnx else name, precision="", options=BuildOptions())
    if precision or not found.precision:
        source = onnx or path.with_name(Path(found.onnx).name)
        own = precision_of(OnnxFiles().outline(source)).name if source.is_file() else FP32.name
        found = replace(found, precision=precision or own)
    return found


def precision_of(file: OnnxFile) -> Precision:
    """The precision of a graph, from its nodes and the types of its weights."""
    operators = set(file.operators)
    quantized = [one for one in PRECISIONS.all() if one.form == "qdq"] if operators & _QUANTIZED else []
    for one in quantized:
        if one.quantized_type in file.weight_types:  # that of zero points, at least
            return one
    for one in quantized:
        if one.quantized_by_core:  # uint8, or no zero points: written by other tools
            return one
    for one in PRECISIONS.all():
        if one.form == "cast" and one.onnx_type in file.weight_types:
            return one
    return FP32
