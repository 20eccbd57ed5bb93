"""Tracing hazards: lines at which the model converts a tensor to a Python number, which the trace keeps as a constant."""

from __future__ import annotations

import linecache
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from opcode import opname
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.jit._trace import TracerWarning

from adaptrt.export import conversions
from adaptrt.export.caught_errors import noting_caught_errors
from adaptrt.export.conversions import CONDITION, CONVERSIONS, LENGTH, watching_conversions
from adaptrt.export.value_origins import Origins
from adaptrt.plugins.discovery import ADAPTERS, EXTENSIONS, find_candidates
from adaptrt.report import Finding, SourceLocation
from adaptrt.specs import ModelSpec

_FROZEN = "the graph"
_OF_LENGTH = "Using len to get tensor shape might cause the trace to be incorrect"  # as torch says it
_CAUGHT = "a value that the export does not know, whose error the model catches,"
_WRAPPER = str(Path(__file__).with_name("wrapper.py"))  # its callers are not part of the model
_ADVICE_VALUE = "use torch.where or a mask instead of if; keep the value a tensor; use torch.index_select instead of indexing a list"
_ADVICE_SIZE = (
    "read only fixed sizes; use -1 for the batch in reshape and expand, and tensor operations instead of loops over it"
)


@dataclass(frozen=True)
class _Hazard:
    rule: str
    how: str
    file: str
    line: int


@dataclass
class HazardRecorder:
    """``findings`` of one trace; ``batch`` is its batch size, where the batch is dynamic, and ``sizes`` are those of all
    dynamic axes by input and axis, both counted."""

    inputs: int
    batch: int | None
    sizes_matter: bool
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    hazards: dict[_Hazard, int] = field(default_factory=dict)
    exercised: dict[tuple[str, int], bool] = field(default_factory=dict)

    def note(
        self, tensor: torch.Tensor, how: str, file: str, line: int, *, axis: int | None = None, torchs: bool = False
    ) -> None:
        """Record that a tensor is converted to a number, unless it is a weight, the size of a fixed axis, or part of torch's
        own size checks (``torchs``). With ``axis``, the number is the size of this one."""
        origin = self._origins.of(tensor)
        if axis is not None and axis % max(1, tensor.ndim) not in origin.varying:
            if how == LENGTH:
                self._add(_Hazard("trace-warning", _OF_LENGTH, file, line))
        elif axis is not None or origin.data:
            self._add(_Hazard("traced-value", how, file, line))
        elif torchs and how == CONDITION:
            return
        elif origin.axes and (self.sizes_matter or (0 in origin.axes and self.batch is not None)):
            self._add(_Hazard("traced-size", how, file, line))

    def size(self, method: str, file: str, line: int) -> None:
        """Record that a symbol of torch.export is converted to a number or a condition, once: it runs the model repeatedly."""
        hazard = _Hazard("traced-size", CONVERSIONS[method], file, line)
        if not self._deliberate(hazard):
            self.hazards[hazard] = 1

    def frozen(self, file: str, line: int) -> None:
        """Record that a dynamic axis was specialized to a number at this line, unless the line is recorded already."""
        if not any((hazard.file, hazard.line) == (file, line) for hazard in self.hazards):
            self._add(_Hazard("traced-size", _FROZEN, file, line))

    def not_frozen(self) -> None:
        """Drop the specialized axes: the written graph has every dynamic axis."""
        self.hazards = {hazard: count for hazard, count in self.hazards.items() if hazard.how != _FROZEN}

    def forget(self) -> None:
        """Release the trace, of which only the hazards are needed further."""
        self._origins.forget()

    def lines(self) -> list[str]:
        """``net.py:12 (its code)`` of each hazard so far."""
        lines = dict.fromkeys((hazard.file, hazard.line) for hazard in self.hazards)
        return [f"{Path(file).name}:{line} ({linecache.getline(file, line).strip()})" for file, line in lines]

    def caught(self, file: str, line: int) -> None:
        """Record that the model caught an error that only the export raises, since values are unknown there."""
        self._add(_Hazard("traced-value", _CAUGHT, file, line))

    def warned(self, message: warnings.WarningMessage) -> None:
        """Record a warning of torch's tracer, except for conversions, which ``note`` handles."""
        text = str(message.message).partition(" We can't record")[0].partition(". ")[0]
        if not issubclass(message.category, TracerWarning):
            return
        # conversions through the wrappers of this module are recorded already; those made in C++ are not
        conversion = ("Converting a tensor" in text or text == _OF_LENGTH) and message.filename == conversions.__file__
        # constants from Python numbers are fine; the conversion to numbers is recorded already
        if not conversion and "registered as constants" not in text:
            self._add(_Hazard("trace-warning", text, message.filename, message.lineno))

    @property
    def questions(self) -> dict[tuple[str, int], str]:
        """The locations at which another value or branch would have led to another graph, with the kind of conversion."""
        return {
            (hazard.file, hazard.line): hazard.how
            for hazard in self.hazards
            if hazard.rule == "traced-value" or (hazard.rule == "traced-size" and hazard.how == CONDITION)
        }

    @property
    def sized(self) -> list[tuple[str, int]]:
        """The locations at which a size became a constant, which samples of any other size reveal."""
        return [(one.file, one.line) for one in self.hazards if one.rule == "traced-size"]

    def _deliberate(self, hazard: _Hazard) -> bool:
        """Whether the code belongs to an adapter or extension: it is written for export, and compared at other sizes."""
        if hazard.rule != "traced-size" or hazard.how == CONDITION:
            return False
        return any(Path(hazard.file).is_relative_to(folder) for folder in self._folders)

    @cached_property
    def _origins(self) -> Origins:
        return Origins(self.inputs)

    @cached_property
    def _folders(self) -> list[Path]:
        return _plugin_folders()

    def _add(self, hazard: _Hazard) -> None:
        if self._deliberate(hazard):
            return
        self.hazards[hazard] = self.hazards.get(hazard, 0) + 1

    def findings(self, at: Callable[[str, int], SourceLocation]) -> list[Finding]:
        messages = {
            "traced-value": (
                "data-dependent Python code: {} is evaluated once, on the example inputs",
                _ADVICE_VALUE,
            ),
            "traced-size": (
                "the size of a dynamic axis becomes a constant: {} keeps the size of the example inputs",
                _ADVICE_SIZE,
            ),
            "trace-warning": (
                "warning from torch's tracer: {}",
                "check this line; the trace keeps the values of the example inputs",
            ),
        }
        grouped: dict[tuple[str, str, bool | None], list[SourceLocation]] = {}
        for hazard, count in self.hazards.items():
            location = at(hazard.file, hazard.line)
            location.count = count
            exercised = self.exercised.get((hazard.file, hazard.line))
            grouped.setdefault((hazard.rule, hazard.how, exercised), []).append(location)
        return [
            Finding(
                rule=rule,
                severity="warning",
                operator="",
                count=sum(one.count for one in locations),
                message=messages[rule][0].format(how),
                advice=messages[rule][1],
                places=locations,
                exercised=exercised,
            )
            for (rule, how, exercised), locations in grouped.items()
        ]


@contextmanager
def recording(spec: ModelSpec, inputs: Sequence[torch.Tensor], *, traced: bool = True) -> Iterator[HazardRecorder]:
    """Record hazards while TorchScript traces; torch's warnings are recorded or dropped.

    ``traced``: check each tensor that is converted to a number; else, for dynamo, which raises an error there, whether the
    model catches it.

    torch's own warnings do not show where a value comes from or whether the axis is fixed, so the relevant one is lost
    among the many of a typical model.
    """
    dims = [tensor.dims for tensor in spec.inputs]
    batch = inputs[0].shape[0] if dims and dims[0] and dims[0][0].dynamic else None
    others = any(dim.dynamic for shape in dims for dim in shape[1:])
    sizes = {
        (number, axis): int(tensor.shape[axis])
        for number, (tensor, shape) in enumerate(zip(inputs, dims, strict=False))
        for axis, dim in enumerate(shape)
        if dim.dynamic
    }
    recorder = HazardRecorder(len(inputs), batch, others, sizes)

    def note(tensor: torch.Tensor, how: str, frame: FrameType, _: Any, axis: int | None) -> None:
        place = calling_line(frame) if torch._C._get_tracing_state() is not None else None
        if place is not None:
            recorder.note(tensor, how, *place, axis=axis, torchs=not is_models_own(frame.f_code.co_filename))

    with ExitStack() as undo:
        if traced:
            undo.enter_context(watching_conversions(note))
        else:
            undo.enter_context(noting_caught_errors(is_models_own, recorder.caught))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield recorder
            finally:
                recorder.forget()
        for message in caught:
            recorder.warned(message)


def failing_line(error: BaseException) -> tuple[str, int] | None:
    """The model's own line behind an error of an exporter: the innermost frame that is not torch's."""
    found: BaseException | None = error
    place = None
    while found is not None:
        for frame in traceback.extract_tb(found.__traceback__):
            if is_models_own(frame.filename):
                place = (frame.filename, frame.lineno or 0)
        found = found.__cause__ or found.__context__
    return place


def is_models_own(file: str) -> bool:
    """Whether a file is neither Python's, nor torch's, nor ours."""
    path = Path(file)
    installed = "site-packages" in path.parts or "dist-packages" in path.parts
    if file.startswith("<") or (path.is_relative_to(sysconfig.get_path("stdlib")) and not installed):
        return False
    return not any(path.is_relative_to(folder) for folder in (Path(torch.__file__).parent, Path(__file__).parents[1]))


def _plugin_folders() -> list[Path]:
    """Folders of the packages, and files of the modules, that are loaded as plugins."""
    roots = {
        candidate.module.partition(".")[0] for group in (ADAPTERS, EXTENSIONS) for candidate in find_candidates(group)
    }
    files = [Path(file) for root in roots if (file := getattr(sys.modules.get(root), "__file__", None))]
    return [file.parent if file.name == "__init__.py" else file for file in files]


def calling_line(frame: FrameType | None) -> tuple[str, int] | None:
    """The model's own line that led here, else torch's.

    ``None`` in generated code, whose numbers torch.export checked, and where an f-string only makes text of a number.
    """
    torchs = None
    while frame is not None and frame.f_code.co_filename != _WRAPPER:
        file = frame.f_code.co_filename
        if is_models_own(file):
            makes_text = opname[frame.f_code.co_code[frame.f_lasti]].startswith("FORMAT_")
            return None if makes_text else (file, frame.f_lineno)
        if file.startswith("<"):
            return None
        torchs = torchs or (file, frame.f_lineno)
        frame = frame.f_back
    return torchs
