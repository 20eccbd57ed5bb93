"""Reports as data, and what a fresh one says."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.errors import ModelError
from adaptrt.report import (
    LINKS,
    Check,
    Failure,
    FileRecord,
    ImageRecord,
    Link,
    PassRecord,
    PatchRecord,
    PredictionRecord,
    Report,
    Stage,
)
from adaptrt.specs import InputSpec, ModelSpec

text = st.text(max_size=8)
number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 10**9)
# from_type would fill optional values from annotations; the strategies say what a conversion really writes
checks = st.builds(
    Check, text, text, number, st.none() | number, st.booleans(), text, st.none() | number, count, st.booleans()
)
predictions = st.builds(
    PredictionRecord,
    st.sampled_from(["detect", "classify", "values"]),
    text,
    st.dictionaries(text, number | text | st.lists(count | text, max_size=2), max_size=2),
)
reports = st.builds(
    Report,
    adapter=text,
    source=text,
    command=text,
    status=st.sampled_from(["running", "passed", "failed"]),
    spec=st.none() | st.just(ModelSpec((InputSpec.image(32, 32),))),
    exporter=text,
    opset=count,
    stages=st.lists(st.builds(Stage, text, number, text, st.booleans()), max_size=3),
    links=st.lists(
        st.builds(
            Link, count, text, st.sampled_from(["passed", "failed", "not run"]), text, st.lists(checks, max_size=2)
        ),
        max_size=2,
    ),
    patches=st.lists(st.builds(PatchRecord, text, text, text, text, text, count, text), max_size=2),
    passes=st.lists(st.builds(PassRecord, text, text, text, count, count, number, text), max_size=2),
    operators=st.dictionaries(text, st.dictionaries(text, count, max_size=2), max_size=2),
    files=st.dictionaries(text, st.builds(FileRecord, text, count, text), max_size=2),
    warnings=st.lists(text, max_size=2),
    failure=st.none() | st.builds(Failure, text, text, st.none() | text, text),
    images=st.lists(st.builds(ImageRecord, text, st.dictionaries(text, predictions, max_size=2)), max_size=2),
)


@given(reports)
def test_json_gives_the_same_report(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report


@given(st.one_of(st.text(), st.binary()))
def test_what_is_no_report_is_refused(garbage: str | bytes) -> None:
    with pytest.raises(ModelError, match="report cannot be read"):
        Report.from_json(garbage)


def test_the_field_that_is_wrong_is_named() -> None:
    wrong = Report("a", "b", "c").to_json().replace('"opset": 0', '"opset": "new"')
    with pytest.raises(ModelError, match=r"\$\.opset"):
        Report.from_json(wrong)


def test_infinitely_wrong_stays_infinitely_wrong() -> None:
    """JSON has no infinity: a check that found one has to fail after reading as it did before."""
    report = Report("a", "b", "c")
    report.links[2].checks.append(Check("boxes", "pixels", float("inf"), 0.05, False))
    report.links[2].checks.append(Check("scores", "scores", float("nan"), 0.05, False, mean=float("inf")))
    read = Report.from_json(report.to_json())
    assert [check.passed for check in read.link(2).checks] == [False, False]
    assert read.link(2).checks[0].value == float("inf")


def test_a_fresh_report_proves_nothing() -> None:
    report = Report("yolov5", "best.pt", "adaptrt convert ...")
    assert [link.number for link in report.links] == list(LINKS) == list(range(6))
    assert {link.status for link in report.links} == {"not run"}
    assert report.onnx is None
    assert report.seconds == 0
    assert not isinstance(report.links, Mapping)
    assert {field.name for field in fields(Report)} >= {"status", "failure", "files"}


def test_files_and_times() -> None:
    report = Report("a", "b", "c", stages=[Stage("load", 1.5), Stage("link 2", 0.5, verifying=True)])
    report.files["onnx"] = FileRecord("out/best.onnx", 3, "0" * 64)
    assert report.onnx == Path("out/best.onnx")
    assert report.seconds == 2.0


def test_findings_of_older_reports_are_read() -> None:
    """They numbered the rules."""
    import json

    finding = {"rule": "scatter", "number": 6, "severity": "warning", "operator": "ScatterND", "count": 2}
    old = json.loads(Report("yolov5", "best.pt", "adaptrt convert").to_json())
    old["findings"] = [{**finding, "message": "m", "advice": "a", "places": []}]
    (found,) = Report.from_json(json.dumps(old)).findings
    assert (found.rule, found.severity, found.count) == ("scatter", "warning", 2)
    assert not hasattr(found, "number")
