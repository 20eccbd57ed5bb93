from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt import quantities
from adaptrt.rendering import formatting
from adaptrt.rendering.layers import share
from adaptrt.report import Check, Link, Report, Verdict
from adaptrt.specs import DecoderSpec, Dim, ImageTransform, InputSpec


def check(value: float, limit: float | None, *, higher: bool = False, unit: str = "scores") -> Check:
    passed = limit is None or (value >= limit if higher else value <= limit)
    return Check("c", unit, value, limit, passed, higher_is_better=higher)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.026412, "0.0264"), (1.1731e-07, "1.2e-07"), (1e-4, "0.0001"), (12.345, "12.3"), (640, "640"),
        (999.4, "999"), (999.6, "1000"), (1980, "1980"), (-9999.4, "-9999"),
        (123456.0, "1.2e+05"), (-0.5, "-0.5"), (math.inf, "not finite"), (math.nan, "not finite"),
    ],
)  # fmt: skip
def test_numbers_keep_the_digits_that_matter(value: float, text: str) -> None:
    assert formatting.number(value) == text


@given(st.floats(-1e300, 1e300))
def test_numbers_stay_near_what_they_say(value: float) -> None:
    assert float(formatting.number(value)) == pytest.approx(value, rel=0.06)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (10_273_926, "10.3 MB"), (3 * 10**12, "3.0 TB")]
)
def test_file_sizes(count: int, text: str) -> None:
    assert quantities.file_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "12 ms"), (0.1, "0.1 s"), (59.94, "59.9 s"), (125, "2 min 5 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert quantities.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "limit", "higher", "share"),
    [
        (0.0, 0.02, False, 0.0), (0.005, 0.02, False, 0.25), (0.04, 0.02, False, 2.0), (0.0, 0.0, False, 0.0),
        (0.1, 0.0, False, math.inf), (math.inf, 1.0, False, math.inf), (math.nan, 1.0, False, math.inf),
        (1.0, 1.0, True, 0.0), (0.9, 1.0, True, math.inf), (0.95, 0.9, True, 0.5), (0.8, 0.9, True, 2.0),
        (0.5, None, False, None),
    ],
)  # fmt: skip
def test_the_share_of_the_limit_that_is_used(
    value: float, limit: float | None, higher: bool, share: float | None
) -> None:
    assert formatting.used(check(value, limit, higher=higher)) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    ("used", "text"),
    [
        (0.0, "0 %"), (0.034, "3.4 %"), (0.56, "56 %"), (0.998, "99.8 %"), (1.0, "100 %"), (1.003, "100.3 %"),
        (2.128, "213 %"), (12.2, "12 times"), (1234.0, "1,234 times"), (math.inf, "not finite"),
    ],
)  # fmt: skip
def test_a_share_of_the_limit_says_on_which_side_it_is(used: float, text: str) -> None:
    assert share(used) == text


def test_the_worst_check_is_the_failed_one_else_the_nearest_to_its_limit() -> None:
    near, far, bad = check(0.9, 1.0), check(0.5, 1.0), check(0.2, 0.1)
    assert formatting.worst(Link(2, "x", checks=[far, near])) is near
    assert formatting.worst(Link(2, "x", checks=[near, bad, far])) is bad
    assert formatting.worst(Link(2, "x")) is None


def test_values_and_limits_have_their_unit() -> None:
    assert formatting.value_text(check(0.5, 1, unit="pixels")) == "0.5 px"
    assert formatting.limit_text(check(0.5, 1, unit="pixels")) == "≤ 1 px"
    assert formatting.limit_text(check(1, 0.995, unit="share", higher=True)) == "≥ 99.5 %"
    assert formatting.limit_text(check(1, None)) == ""
    assert formatting.value_text(check(math.inf, 1, unit="pixels")) == "not finite"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("export", "Export to ONNX"),
        ("link 2", "Link 2: ONNX Runtime vs. reference"),
        ("link 9", "Link 9"),
        ("nms vs. numpy", "NMS vs. NumPy"),
        ("dance", "Dance"),
    ],
)
def test_stages_in_words(name: str, title: str) -> None:
    assert formatting.stage_title(name) == title


def test_the_verdict(report: Report) -> None:
    held = "3 of 6 links ran, all 4 checks passed"
    assert formatting.verdict(report) == f"Partly verified: {held}. Missing checks are listed below."
    report.verdict = Verdict("verified")
    assert formatting.verdict(report) == f"Verified: {held}."
    for link in report.links:
        link.checks = link.checks[:1] if link.number == 1 else []
    assert formatting.verdict(report) == "Verified: 3 of 6 links ran, 1 check passed."


def test_a_report_of_a_version_without_verdicts_is_never_verified(report: Report) -> None:
    report.verdict = None
    assert formatting.verdict_word(report) == "partly verified"


def test_the_verdict_of_a_failure(failed: Report) -> None:
    assert formatting.verdict(failed) == "Link 2 fails."


def test_nothing_verified_is_not_called_verified() -> None:
    assert (
        formatting.verdict(Report("a", "b", "c", status="passed"))
        == "Not verified: no output was compared with the model."
    )


def test_shapes_in_the_shape_language() -> None:
    two = InputSpec("x", ((Dim(1, 2, 4, "batch"), Dim.fixed(3)), (Dim(8, 8, 16, "batch"), Dim.fixed(3))))
    assert formatting.input_shape(two) == "batch:1..4@2x3 and batch:8..16@8x3"


def test_how_an_image_goes_in() -> None:
    text = formatting.describe_transform(ImageTransform(), (64, 96))
    assert text == "64x96 (height x width), letterbox, centered, padded with 114, cv2 linear, RGB, x 0.00392"
    normalized = ImageTransform(
        resize="crop", crop_fraction=0.9, library="pil", mean=(0.485, 0.456, 0.406), std=(1, 1, 2)
    )
    assert "center crop 0.9, pil linear, RGB, x 0.00392, - (0.485, 0.456, 0.406), / (1, 1, 2)" in (
        formatting.describe_transform(normalized, (224, 224))
    )


def test_a_decoder_with_the_parameters_that_hold() -> None:
    assert formatting.describe_decoder(DecoderSpec("yolo", {"conf": 0.4})).startswith("yolo: conf 0.4, iou 0.7, ")
    assert formatting.describe_decoder(DecoderSpec("raw")) == "raw"
    assert "Unknown decoder 'gone'" in formatting.describe_decoder(DecoderSpec("gone", {"a": 1}))


def test_paths_below_the_current_folder_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert formatting.display_path(tmp_path / "out" / "x.onnx") == "out/x.onnx"
    assert formatting.display_path("/elsewhere/x.onnx") == "/elsewhere/x.onnx"
    assert formatting.display_path("../x.onnx") == "../x.onnx"
