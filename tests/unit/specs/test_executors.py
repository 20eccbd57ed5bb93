"""What an executor yields is checked where it is used; the error names the executor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptrt.errors import ImageError, PluginError
from adaptrt.specs.executors import ExecutorOptions, ImageResult, image_results

A, B = Path("a.png"), Path("b.png")


class Yields:
    name, summary, options = "mine", "Yields what it is told.", None

    def __init__(self, *results: Any) -> None:
        self.results = results

    def run(self, model: Path, sources: Any, options: ExecutorOptions) -> Iterator[Any]:
        yield from self.results


class Forgets(Yields):
    def run(self, model: Path, sources: Any, options: ExecutorOptions) -> Any:
        return None


class Lists(Yields):
    def run(self, model: Path, sources: Any, options: ExecutorOptions) -> Any:
        return iter(self.results)


GOOD = (ImageResult(path=B, prediction=1), ImageResult(path=A, error=ImageError("damaged")))


@pytest.mark.parametrize("executor", [Yields(*GOOD), Lists(*GOOD)])
def test_results_in_any_order(executor: Any) -> None:
    assert list(image_results(executor, Path("m.onnx"), [A, B], ExecutorOptions())) == list(GOOD)


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (Forgets(), "'mine' must return an iterator of ImageResult; got nothing"),
        (Yields("found"), "must yield an ImageResult for each image; got str 'found'"),
        (Yields(ImageResult(path=Path("c.png"), prediction=1)), "must yield each path that it was given once; got .*c.png"),
        (Yields(GOOD[0], GOOD[0]), "must yield each path that it was given once; got .*b.png"),
        (Yields(ImageResult(path=A)), "must yield results with a prediction or an error; got ImageResult"),
    ],
)  # fmt: skip
def test_other_results_are_rejected(executor: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        list(image_results(executor, Path("m.onnx"), [A, B], ExecutorOptions()))
