"""Tasks of other distributions whose methods return something else than they must: an error that names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import Dataset, ModelSpec, PluginError, Scoring, Task
from adaptrt.specs import Found
from adaptrt.specs.tasks import HasFigures

IMAGE = np.zeros((4, 4, 3), np.uint8)
SPEC = ModelSpec(inputs=())


def returning(value: Any) -> Any:
    return lambda *_: value


def task(**results: Any) -> Any:
    """A task whose methods return these."""
    methods = {name: returning(value) for name, value in results.items()}
    made = type("Glow", (Task,), {"name": "glow", "prediction": float, "describe": lambda *_: "", **methods})
    return made()


@pytest.mark.parametrize(
    ("method", "result", "message"),
    [
        ("describe", None, "Glow.describe must return a string; got None."),
        ("draw", None, "Glow.draw must return an image, uint8 [H, W, 3]; got None."),
        ("draw", IMAGE[..., 0], "Glow.draw must return an image, uint8 [H, W, 3]; got uint8 [4, 4]."),
        ("draw", IMAGE / 2, "Glow.draw must return an image, uint8 [H, W, 3]; got float64 [4, 4, 3]."),
        ("bars", None, "Glow.bars must return a list of names with numbers; got None."),
        ("bars", ["a"], "Glow.bars must return a list of names with numbers; got a list with a str."),
        ("is_empty", None, "Glow.is_empty must return True or False; got None."),
        ("data", None, "Glow.data must return a dict of JSON data; got None."),
        ("data", {"a": [1, {"b": np.float32(1)}]}, "got a numpy.float32 in ['a'][1]['b']."),
        ("row", {"a": np.zeros(3)}, "got a numpy.ndarray in ['a']."),
        ("record", {(1, 2): 3}, "got the key (1, 2)."),
        ("metrics", None, "Glow.metrics must return a list of Metric; got None."),
        ("agreement", None, "Glow.agreement must return a string; got None."),
        ("malformed", False, "Glow.malformed must return a string or None; got a bool."),
    ],
)
def test_a_wrong_result(method: str, result: Any, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        getattr(task(**{method: result}), method)(IMAGE)
    assert message in caught.value.message
    assert (caught.value.hint is not None) == ("numpy" in message)


def test_right_results() -> None:
    right = task(
        draw=IMAGE, bars=[("a", np.float32(0.5))], is_empty=np.bool_(True), data={"a": [np.float64(1), None, True]}, metrics=[],
        malformed=None,
    )  # fmt: skip
    assert right.describe(0) == ""
    assert right.draw(IMAGE, 0) is IMAGE
    assert right.bars(0) == [("a", 0.5)]
    assert right.is_empty(0)
    assert right.data(0) == {"a": [1, None, True]}
    assert right.malformed(0, SPEC) is None
    assert right.row(0) == right.data(0)


@pytest.mark.parametrize("files", [None, [None], [("a.json", "text")], ["a.json"]])
def test_files_of_an_export(files: Any) -> None:
    with pytest.raises(PluginError, match=r"Glow\.export must return pairs of a file name and bytes"):
        list(task(export=files).export("json", [Found("a", Path("a.png"), (4, 4), 0.0)]))
    assert list(task(export=[("a.json", b"")]).export("json", [])) == [("a.json", b"")]


class Errors:
    """A scorer whose methods return ``results``."""

    def __init__(self, **results: Any) -> None:
        known = {"scores": {"mean": 1.0}, "per_class": {}, "records": [], **results}
        for name, value in known.items():
            setattr(self, name, returning(value))
        self.errors: list[float] = []

    def add(self, truth: float, prediction: float) -> None:
        self.errors.append(abs(truth - prediction))


def scorer(found: Any) -> Any:
    methods = {"layout": "", "read_dataset": lambda *_: Dataset(()), "scorer": lambda *_: found}
    return type("GlowScoring", (Scoring,), methods)().scorer(SPEC, Dataset(()))


def test_a_scorer_with_numpy_scalars_returns_numbers() -> None:
    found = scorer(Errors(scores={"mean": np.float32(0.5)}, per_class={"a": {"count": 3, "mean": np.float32(1)}}))
    found.add(3.0, 1.0)
    assert found.errors == [2.0]
    assert not isinstance(found, HasFigures)
    assert type(found.scores()["mean"]) is float
    assert {name: type(value) for name, value in found.per_class()["a"].items()} == {"count": int, "mean": float}
    assert isinstance(scorer(Errors(figures={"loss": np.float32(3)})), HasFigures)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"scores": None}, r"Errors\.scores must return a dict of numbers by name; got None"),
        ({"scores": {"mean": None}}, r"Errors\.scores must return a dict of numbers by name; got a dict with None"),
        ({"per_class": None}, r"Errors\.per_class must return a dict; got None"),
        ({"records": [{"a": np.float32(1)}]}, r"Errors\.\w+ must return a list of JSON objects; got a list with a numpy\.float32"),
    ],
)  # fmt: skip
def test_a_scorer_with_wrong_results(results: dict[str, Any], message: str) -> None:
    found = scorer(Errors(**results))
    with pytest.raises(PluginError, match=message):
        getattr(found, next(iter(results)))()


def test_no_scorer() -> None:
    with pytest.raises(PluginError, match=r"GlowScoring\.scorer must return an object with the method add; got None"):
        scorer(None)
    wrong = type("GlowScoring", (Scoring,), {"layout": "", "read_dataset": lambda *_: None, "scorer": lambda *_: None})
    with pytest.raises(PluginError, match=r"GlowScoring\.read_dataset must return a Dataset; got None"):
        wrong().read_dataset(Path(), SPEC, None)
