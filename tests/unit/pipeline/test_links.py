"""The six links: what closes them, what opens them again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adaptrt.contributions import Metric
from adaptrt.errors import ModelError, PatchError, PluginError, VerificationError
from adaptrt.pipeline.links import (
    compare_predictions,
    found_nothing,
    guarded,
    hint_with_passes,
    image_record,
    record_link,
    record_prediction,
)
from adaptrt.predictions import Detections, Predictions
from adaptrt.report import Check, ImageRecord, Link, PassRecord
from adaptrt.specs import InputSpec, ModelSpec, task_named

SPEC = ModelSpec((InputSpec.image(32, 32),), task="detect")


def link(number: int = 2) -> Link:
    return Link(number, "ONNX Runtime vs. reference")


def check(value: float, limit: float | None = 0.05, **options: object) -> Check:
    return Check(
        **{"name": "boxes", "unit": "pixels", "value": value, "limit": limit, "passed": value <= 0.05, **options}
    )  # type: ignore[arg-type]


def test_a_link_closes_when_every_check_passes() -> None:
    closed = link()
    record_link(closed, [check(0.01), check(0.05)])
    assert closed.status == "passed"
    assert len(closed.checks) == 2


def test_the_first_that_fails_is_named() -> None:
    opened = link()
    with pytest.raises(VerificationError) as caught:
        record_link(opened, [check(0.01), check(3.5), check(9, name="other")])
    assert caught.value.message == (
        "Link 2 (ONNX Runtime vs. reference) fails: boxes 3.5 pixels, at most 0.05 is accepted."
    )
    assert "--no-simplify" in (caught.value.hint or "")
    assert (opened.status, len(opened.checks)) == ("failed", 3)
    with pytest.raises(PatchError, match="Link 1"):
        record_link(link(1), [check(1)], error=PatchError)


def test_shapes_that_differ_are_said() -> None:
    with pytest.raises(VerificationError, match=r"fails: boxes: shape \(2, 4\) instead of \(1, 8\)\."):
        record_link(link(), [check(float("inf"), reason="shape (2, 4) instead of (1, 8)")])


def test_a_batch_dependent_result_has_a_separate_hint() -> None:
    with pytest.raises(VerificationError) as caught:
        record_link(link(), [check(3.5, kind="batch")])
    assert "depends on the others in its batch" in (caught.value.hint or "")


def test_metrics_are_at_least() -> None:
    share = check(0.5, 1.0, name="matched", unit="share", passed=False, higher_is_better=True)
    with pytest.raises(VerificationError, match=r"matched 0.5, at least 1 is accepted"):
        record_link(link(5), [share])


@pytest.mark.parametrize("number", range(6))
def test_every_link_says_what_to_do(number: int) -> None:
    with pytest.raises(VerificationError) as caught:
        record_link(link(number), [check(1)])
    assert caught.value.hint


def test_a_link_without_checks_proves_nothing() -> None:
    opened = link()
    with pytest.raises(VerificationError, match="has no outputs to compare"):
        record_link(opened, [])
    assert opened.status == "failed"


def test_what_does_not_run_fails_its_link() -> None:
    opened = link()
    with pytest.raises(VerificationError, match="Link 2 .* fails: no such batch"), guarded(opened):
        raise ModelError("no such batch")
    assert (opened.status, opened.reason) == ("failed", "no such batch")
    with pytest.raises(PatchError, match="RuntimeError: boom"), guarded(link(1), error=PatchError):
        raise RuntimeError("boom")
    with pytest.raises(KeyboardInterrupt), guarded(link()):
        raise KeyboardInterrupt


def test_a_mistake_in_a_plugin_is_not_a_difference() -> None:
    opened = link(4)
    with pytest.raises(PluginError, match="^Backend 'mine' must return"), guarded(opened):
        raise PluginError("Backend 'mine' must return a runner.")
    assert (opened.status, opened.reason) == ("failed", "Backend 'mine' must return a runner.")


def test_passes_of_plugins_are_named_first() -> None:
    core, mine = (
        PassRecord(name, "r", plugin, 2, 1, 0.0)
        for name, plugin in (("fold", "core.conversion"), ("forget", "wrong.py"))
    )
    assert hint_with_passes("Try.", [core]) == "Try."
    assert hint_with_passes("Try.", [core, mine]) == (
        "The graph pass 'forget' of wrong.py may have changed the result: convert without it first. Try."
    )
    assert (hint_with_passes(None, [mine, mine]) or "").startswith(
        "One of the graph passes 'forget' of wrong.py, 'forget'"
    )


def detections(*boxes: Sequence[float], labels: Sequence[int] = (), scores: Sequence[float] = ()) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores or [0.9] * len(boxes), np.float32),
        np.array(labels or [0] * len(boxes), np.int64),
        ("cat", "dog"),
    )


def test_metrics_of_other_tasks_are_left_out() -> None:
    other = Metric(name="m", task="classify", reason="r", compute=lambda a, b: 0.0, minimum=1.0)
    assert compare_predictions([other], [detections()], [detections()], SPEC) == []


def test_a_metric_that_only_reports_never_fails() -> None:
    report_only = Metric(name="m", task="any", reason="r", compute=lambda a, b: 0.1)
    (found,) = compare_predictions([report_only], [detections()], [detections()], SPEC)
    assert (found.limit, found.passed) == (None, True)


def test_a_metric_that_is_no_number_fails() -> None:
    broken = Metric(name="m", task="any", reason="r", compute=lambda a, b: float("nan"), minimum=0.5)
    (found,) = compare_predictions([broken], [detections()], [detections()], SPEC)
    assert not found.passed


def test_a_metric_that_raises_names_itself() -> None:
    def fail(reference: Sequence[Predictions], converted: Sequence[Predictions]) -> float:
        raise KeyError("boxes")

    broken = Metric(name="mean distance", task="any", reason="r", compute=fail)
    with pytest.raises(VerificationError, match="Metric 'mean distance' fails: KeyError: 'boxes'"):
        compare_predictions([broken], [detections()], [detections()], SPEC)


def test_predictions_in_the_report() -> None:
    found = record_prediction(detections((0, 0, 10, 10), labels=[1], scores=[0.1234567]), task_named("detect"))
    assert (found.task, found.found) == ("detect", "1 dog")
    assert found.data["boxes"] == [[0, 0, 10, 10]]


def test_nothing_is_found_if_every_prediction_is_empty() -> None:
    detect, some = task_named("detect"), detections((0, 0, 10, 10))
    assert found_nothing([detections(), detections()], detect)
    assert not found_nothing([detections(), some], detect)


def test_one_record_for_each_image(tmp_path: object) -> None:
    from pathlib import Path

    records: list[ImageRecord] = []
    first = image_record(records, Path("a.png"))
    assert image_record(records, Path("b.png")) is not first
    assert image_record(records, Path("a.png")) is first
    assert [record.path for record in records] == ["a.png", "b.png"]


def test_a_record_that_cannot_be_written_names_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    detect = task_named("detect")
    monkeypatch.setattr(type(detect), "record", lambda self, prediction: {"score": np.float64(1)})
    with pytest.raises(PluginError, match="Task 'detect' records a prediction that is not JSON data"):
        record_prediction(detections(), detect)


def test_a_runner_that_raises_is_not_a_difference_of_precision() -> None:
    link = Link(4, "engine vs. reference")
    with pytest.raises(VerificationError, match="fails: TypeError: run") as caught, guarded(link):
        raise TypeError("run() takes 1 positional argument but 2 were given")
    assert "run() of a backend's runner takes and returns arrays by name." in (caught.value.hint or "")
    assert "--precision" not in (caught.value.hint or "")
