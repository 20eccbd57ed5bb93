"""Ranges and histograms of activations in float32, streamed: no more than one batch of values is held at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from adaptrt.errors import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Inputs = Mapping[str, NDArray[Any]]

BINS = 2048
_MOST_BYTES = 256 << 20  # of activations fetched in one run

Progress = Callable[[int, int], None]


@dataclass
class Range:
    """The lowest and the highest value of an activation; ``elements`` of it in the largest batch."""

    low: float = np.inf
    high: float = -np.inf
    elements: int = 0

    def add(self, low: float, high: float, elements: int = 0) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.elements = max(self.elements, elements)

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Activations:
    """Runs a graph in ONNX Runtime and looks at the float32 values with these ``names``."""

    model: ir.Model
    names: Sequence[str]
    workdir: Path
    custom_ops: Sequence[Path] = ()
    _sessions: dict[str, Any] = field(default_factory=dict)

    def ranges(self, batches: Iterable[Inputs], progress: Progress | None = None) -> dict[str, Range]:
        """The range of each activation over all batches; the graph itself computes minima and maxima."""
        found = {name: Range() for name in self.names}
        session = self._session("ranges", _with_extrema)
        outputs = [f"{_PREFIX}{kind}_{index}" for index in range(len(self.names)) for kind in ("low", "high", "size")]
        for done, inputs in enumerate(batches, 1):
            results = _run(session, outputs, inputs)
            for index, name in enumerate(self.names):
                low, high, size = results[3 * index : 3 * index + 3]
                if not int(size):
                    continue
                if not (np.isfinite(low) and np.isfinite(high)):
                    raise GraphError(
                        f"Activation {name!r} is not finite on calibration batch {done}.",
                        hint="The float32 model overflows on this image: check the image and the model.",
                    )
                found[name].add(float(low), float(high), int(size))
            if progress:
                progress(done, 0)
        return found

    def sizes(self, inputs: Inputs) -> dict[str, int]:
        """The number of elements of each value in a run."""
        outputs = [f"{_PREFIX}size_{index}" for index in range(len(self.names))]
        results = _run(self._session("sizes", _with_sizes), outputs, inputs)
        return {name: int(size) for name, size in zip(self.names, results, strict=True)}

    def histograms(
        self,
        batches: Sequence[Inputs] | Iterable[Inputs],
        ranges: Mapping[str, Range],
        progress: Progress | None = None,
    ) -> dict[str, NDArray[np.int64]]:
        """How often each magnitude occurs: ``BINS`` bins from 0 to the largest one, by activation."""
        session = self._session("values", _with_values)
        counts = {name: np.zeros(BINS, np.int64) for name in self.names}
        given = {str(value.name) for value in self.model.graph.inputs}
        groups = _groups([name for name in self.names if name not in given], ranges)
        for done, inputs in enumerate(batches, 1):
            for name in given & counts.keys():
                _count(counts[name], np.asarray(inputs[name]), ranges[name].largest)
            for group in groups:
                for name, array in zip(group, _run(session, group, inputs), strict=True):
                    _count(counts[name], array, ranges[name].largest)
            if progress:
                progress(done, 0)
        return counts

    def _session(self, kind: str, extend: Callable[[ir.Model, Sequence[str]], None]) -> Any:
        if kind not in self._sessions:
            model = self.model.clone()
            extend(model, self.names)
            path = self.workdir / f"calibration-{kind}.onnx"
            onnx.save(ir.to_proto(model), str(path))
            self._sessions[kind] = _open(path, self.custom_ops)
            path.unlink()
        return self._sessions[kind]


_PREFIX = "adaptrt_calibration_"


def _with_extrema(model: ir.Model, names: Sequence[str]) -> None:
    opset = model.graph.opset_imports.get("", 18)
    values = _values(model)
    del model.graph.outputs[:]
    for index, name in enumerate(names):
        for kind, operator, attributes, dtype in (
            ("low", "ReduceMin", {"keepdims": 0}, ir.DataType.FLOAT),
            ("high", "ReduceMax", {"keepdims": 0}, ir.DataType.FLOAT),
            ("size", "Size", {}, ir.DataType.INT64),
        ):
            node = ir.node(operator, [values[name]], attributes, version=opset)
            node.outputs[0].name = f"{_PREFIX}{kind}_{index}"
            node.outputs[0].type = ir.TensorType(dtype)
            model.graph.append(node)
            model.graph.outputs.append(node.outputs[0])


def _with_sizes(model: ir.Model, names: Sequence[str]) -> None:
    values = _values(model)
    del model.graph.outputs[:]
    for index, name in enumerate(names):
        node = ir.node("Size", [values[name]], version=model.graph.opset_imports.get("", 18))
        node.outputs[0].name, node.outputs[0].type = f"{_PREFIX}size_{index}", ir.TensorType(ir.DataType.INT64)
        model.graph.append(node)
        model.graph.outputs.append(node.outputs[0])


def _with_values(model: ir.Model, names: Sequence[str]) -> None:
    values = _values(model)
    given = set(model.graph.inputs)
    del model.graph.outputs[:]
    for name in names:
        if values[name] not in given:
            values[name].type = ir.TensorType(ir.DataType.FLOAT)
            model.graph.outputs.append(values[name])
    if not model.graph.outputs:  # everything is an input: a graph needs an output nevertheless
        model.graph.outputs.append(next(iter(model.graph)).outputs[0])


def _values(model: ir.Model) -> dict[str, ir.Value]:
    made = {str(value.name): value for node in model.graph for value in node.outputs}
    return {**{str(value.name): value for value in model.graph.inputs}, **made}


def _open(path: Path, custom_ops: Sequence[Path]) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    for library in custom_ops:
        options.register_custom_ops_library(str(library.resolve()))
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common exception type
        raise GraphError(
            f"ONNX Runtime cannot run the graph to calibrate it: {_first_line(error)}",
            hint="int8 is calibrated in ONNX Runtime. Libraries of custom operators: --ort-custom-ops lib.so",
        ) from error


def _run(session: Any, outputs: Sequence[str], inputs: Inputs) -> list[NDArray[Any]]:
    try:
        results: list[NDArray[Any]] = session.run(list(outputs), dict(inputs))
    except Exception as error:
        shapes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in inputs.items())
        raise GraphError(
            f"ONNX Runtime failed on a calibration batch ({shapes}): {_first_line(error)}",
            hint="Check --calib and --calib-batch.",
        ) from error
    return results


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _groups(names: Sequence[str], ranges: Mapping[str, Range]) -> list[list[str]]:
    """Activations that are fetched in one run: as many as fit into ``_MOST_BYTES``."""
    groups: list[list[str]] = []
    size = 0
    for name in names:
        taken = 4 * ranges[name].elements
        if not groups or size + taken > _MOST_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += taken
    return groups


def _count(counts: NDArray[np.int64], array: NDArray[Any], largest: float) -> None:
    if array.size and largest > 0:
        counts += np.histogram(np.abs(array), bins=BINS, range=(0, largest))[0]
