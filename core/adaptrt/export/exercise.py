"""Whether the samples exercise a tracing hazard: the model runs again in eager mode, and the paths that it takes are
compared with the traced one.

A condition is decided by the branches taken at its line, and an integer by its values. A floating-point value differs in
every sample; what a comparison of outputs cannot show of it is a threshold in Python, so there the way through the whole
file counts, between samples of equal shapes. A size that became a number is decided by samples of another size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import torch

from adaptrt.export.conversions import INDIRECT, LENGTH, PARTS, watching_conversions
from adaptrt.export.tracing_hazards import HazardRecorder, calling_line

if TYPE_CHECKING:
    from adaptrt.specs.tensors import Arrays

SourceLine = tuple[str, int]


def exercise(hazards: HazardRecorder, run: Callable[[Arrays], object], samples: Iterable[Arrays]) -> None:
    """Fill ``hazards.exercised``. ``run`` calls the model, eager, on one sample."""
    samples = list(samples)
    seen = {key: {size} for key, size in hazards.sizes.items()}
    for inputs in samples:
        for (number, axis), sizes in seen.items():
            sizes.add([*inputs.values()][number].shape[axis])
    hazards.exercised |= dict.fromkeys(hazards.sized, all(len(sizes) > 1 for sizes in seen.values()))
    questions = hazards.questions
    if not questions:
        return
    ways: dict[SourceLine, set[object]] = {source: set() for source in questions}
    whole: dict[SourceLine, dict[object, set[object]]] = {source: {} for source in questions}
    for inputs in samples:
        shapes = tuple(array.shape for array in inputs.values())
        with _watching(questions) as way:
            run(inputs)
        for source in questions:
            if source in way.discrete:
                ways[source].add((tuple(way.discrete[source]), tuple(way.at_line.get(source, ()))))
            elif source in way.continuous:
                whole[source].setdefault(shapes, set()).add(way.in_file.get(source[0]))
            elif source in way.at_line:
                ways[source].add(tuple(way.at_line[source]))
    for source in questions:
        by_shape = whole[source].values()
        hazards.exercised[source] = len(ways[source]) > 1 or any(len(found) > 1 for found in by_shape)


@dataclass
class _Way:
    """One run: the values that conversions gave and the instructions taken at each line, and a hash of each file's."""

    discrete: dict[SourceLine, list[object]] = field(default_factory=dict)
    continuous: set[SourceLine] = field(default_factory=set)
    at_line: dict[SourceLine, list[int]] = field(default_factory=dict)
    in_file: dict[str, int] = field(default_factory=dict)


@contextmanager
def _watching(questions: Mapping[SourceLine, str]) -> Iterator[_Way]:
    way = _Way()
    files: dict[str, set[int]] = {}
    for file, line in questions:
        files.setdefault(file, set()).add(line)

    def converted(_: torch.Tensor, how: str, frame: FrameType, result: Any, __: int | None) -> None:
        source = calling_line(frame)
        if source is None or source not in questions:
            return
        if how in (LENGTH, PARTS) and how != questions[source]:  # sizes, which differ for other reasons
            return
        if isinstance(result, (bool, int)) and how not in INDIRECT:
            way.discrete.setdefault(source, []).append(result)
        else:
            way.continuous.add(source)

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        lines = files.get(frame.f_code.co_filename)
        if event != "call" or lines is None:
            return None
        frame.f_trace_opcodes = True
        return _stepper(frame.f_code, lines, way)

    before = sys.gettrace()
    with watching_conversions(converted):
        sys.settrace(entered)
        try:
            yield way
        finally:
            sys.settrace(before)


def _stepper(code: CodeType, lines: set[int], way: _Way) -> Callable[[FrameType, str, Any], Any]:
    file, last = code.co_filename, 0

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal last
        if event == "opcode":
            way.in_file[file] = hash((way.in_file.get(file, 0), code.co_name, frame.f_lasti))
            if frame.f_lineno in lines:
                way.at_line.setdefault((file, frame.f_lineno), []).append(frame.f_lasti)
            elif last in lines:  # where it leads to
                way.at_line.setdefault((file, last), []).append(frame.f_lasti)
            last = frame.f_lineno
        return step

    return step
