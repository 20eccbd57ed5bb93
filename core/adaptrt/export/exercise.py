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

from adaptrt.export.tracing_hazards import HazardRecorder, calling_line, watching_conversions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

Place = tuple[str, int]


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
    ways: dict[Place, set[object]] = {place: set() for place in questions}
    whole: dict[Place, dict[object, set[object]]] = {place: {} for place in questions}
    for inputs in samples:
        shapes = tuple(array.shape for array in inputs.values())
        with _watching(questions) as way:
            run(inputs)
        for place in questions:
            if place in way.discrete:
                ways[place].add((tuple(way.discrete[place]), tuple(way.at_line.get(place, ()))))
            elif place in way.continuous:
                whole[place].setdefault(shapes, set()).add(way.in_file.get(place[0]))
            elif place in way.at_line:
                ways[place].add(tuple(way.at_line[place]))
    for place in questions:
        by_shape = whole[place].values()
        hazards.exercised[place] = len(ways[place]) > 1 or any(len(found) > 1 for found in by_shape)


@dataclass
class _Way:
    """One run: the values that conversions gave and the instructions taken at each place, and a hash of each file's."""

    discrete: dict[Place, list[object]] = field(default_factory=dict)
    continuous: set[Place] = field(default_factory=set)
    at_line: dict[Place, list[int]] = field(default_factory=dict)
    in_file: dict[str, int] = field(default_factory=dict)


@contextmanager
def _watching(places: Iterable[Place]) -> Iterator[_Way]:
    way = _Way()
    files: dict[str, set[int]] = {}
    for file, line in places:
        files.setdefault(file, set()).add(line)

    def converted(_: torch.Tensor, __: str, frame: FrameType, result: Any) -> None:
        place = calling_line(frame)
        if place is None or place[1] not in files.get(place[0], ()):
            return
        if isinstance(result, (bool, int)):
            way.discrete.setdefault(place, []).append(result)
        else:
            way.continuous.add(place)

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
