"""The three words, with their meanings."""

from __future__ import annotations

import pytest

from adaptrt.errors import VerificationError
from adaptrt.pipeline.verification.verdict import record_verdicts, require_verdict
from adaptrt.report import (
    ArtifactRecord,
    Check,
    CheckKind,
    Exercise,
    FileRecord,
    Finding,
    PatchRecord,
    Report,
    SourceLocation,
)
from adaptrt.specs import ImageTransform, InputSpec, ModelSpec

VECTORS = ModelSpec((InputSpec.image(8, 8),))
IMAGES = ModelSpec((InputSpec.image(8, 8),), image=ImageTransform(), task="detect")


def report(*passed: int, spec: ModelSpec = VECTORS, kinds: tuple[str, ...] = ("onnx",)) -> Report:
    found = Report("a", "b", "c", spec=spec)
    for number in range(6):
        found.link(number).reason = "no --image" if number in (0, 5) else "not asked for"
    for number in passed:
        found.link(number).status = "passed"
    found.files = {kind: FileRecord(kind, 1, "") for kind in kinds}
    found.exercise = [Exercise("y", 1e4)]
    return found


def word(found: Report, **options: bool) -> str:
    record_verdicts(found, **options)
    assert found.verdict is not None
    return found.verdict.word


def test_a_model_of_numbers_needs_link_2_and_no_image() -> None:
    assert word(report(2)) == "verified"
    assert word(report()) == "not verified"


def test_patches_need_link_1() -> None:
    found = report(2)
    found.patches = [PatchRecord("m:f", "FunctionPatch", "why", "torch", "p", 1)]
    assert word(found) == "partly verified"
    assert found.verdict.missing == ["link 1 did not run: not asked for"]


def test_an_image_model_needs_an_image() -> None:
    found = report(2, spec=IMAGES)
    assert word(found) == "partly verified"
    assert found.verdict.missing == ["links 0 and 5 did not run: no --image"]
    assert word(report(0, 2, 5, spec=IMAGES)) == "verified"


def test_an_output_that_hardly_varies_is_missing() -> None:
    found = report(2)
    found.exercise = [Exercise("boxes", 1e4), Exercise("scores", 99.0)]
    assert word(found) == "partly verified"
    (missing,) = found.verdict.missing
    assert missing.startswith("scores does not vary enough")


@pytest.mark.parametrize("kind", ["samples", "held back"])
def test_a_limit_that_was_widened_counts(kind: CheckKind) -> None:
    found = report(2)
    found.exercise = [Exercise("boxes", 1e4)]
    found.link(3).checks = [Check("boxes", "pixels", 1.0, 2.0, True, kind=kind, widened=200.0)]
    assert word(found) == "partly verified"
    (missing,) = found.verdict.missing
    assert missing.startswith("boxes varies by only 50 times its limit, which was widened")


@pytest.mark.parametrize(
    ("exercised", "expected"), [(None, "partly verified"), (False, "partly verified"), (True, "verified")]
)
def test_a_traced_constant_counts_unless_samples_decide(exercised: bool | None, expected: str) -> None:
    found = report(2)
    place = SourceLocation("net.py", 12)
    found.findings = [Finding("traced-value", "warning", "", 1, "a value decides", "", [place], exercised=exercised)]
    assert word(found) == expected
    if not exercised:
        assert found.verdict.missing == ["a value decides (net.py:12)"]


@pytest.mark.parametrize(("reduced", "expected"), [(None, "verified"), (3.0, "verified"), (1.9, "partly verified")])
def test_the_limit_of_a_reduced_precision_counts_for_its_files(reduced: float | None, expected: str) -> None:
    found = report(2, 3, kinds=("onnx", "reduced"))
    found.exercise = [Exercise("y", 1e4, reduced)]
    assert word(found) == expected
    words = {kind: file.verdict.word for kind, file in found.files.items() if file.verdict is not None}
    assert words == {"onnx": "verified", "reduced": expected}
    found.link(5).status = "passed"  # predictions on images agree, which those of a constant do not
    assert word(found) == "verified"


@pytest.mark.parametrize(("ignored", "expected"), [(0.005, "verified"), (0.5, "partly verified")])
def test_integers_that_rounding_decides_do_not_count(ignored: float, expected: str) -> None:
    found = report(2)
    found.link(2).checks = [Check("y", "share", 0.0, 0.0, True, ignored=ignored)]
    assert word(found) == expected
    assert found.verdict is not None
    assert found.verdict.missing == (
        []
        if expected == "verified"
        else ["y: 50 % of its integers differ and do not count, since the model's own rounding errors change them"]
    )


def test_each_file_has_its_own_and_the_report_the_least() -> None:
    found = report(2, kinds=("onnx", "reduced", "engine", "manifest"))
    found.artifacts = [ArtifactRecord("engine", "tensorrt", "fp16", reason="it cannot run on this machine: no GPU")]
    assert word(found) == "partly verified"
    assert found.files["onnx"].verdict.word == "verified"
    assert found.files["reduced"].verdict.missing == ["link 3 did not run: not asked for"]
    assert found.files["engine"].verdict.missing == ["link 4 did not run: it cannot run on this machine: no GPU"]
    assert found.files["manifest"].verdict is None


def test_a_build_has_the_file_as_its_reference() -> None:
    found = report(kinds=("engine",), spec=IMAGES)
    found.artifacts = [ArtifactRecord("engine", "tensorrt", "fp32", status="passed")]
    assert word(found, from_model=False) == "verified"


def test_a_build_that_cannot_run_here_is_as_verified_as_its_graph() -> None:
    found = report(3, kinds=("engine",), spec=IMAGES)
    found.link(3).shortcoming = "no labels (--data)"
    found.artifacts = [ArtifactRecord("engine", "rtx", "int8", reason="no GPU")]
    assert word(found, from_model=False) == "partly verified"
    assert found.verdict is not None
    assert found.verdict.missing == ["link 4 did not run: no GPU", "link 3: no labels (--data)"]
    found.link(3).status = "not run"  # a float32 build: nothing was compared
    assert word(found, from_model=False) == "not verified"


def test_less_than_required_is_an_error() -> None:
    found = report(2, spec=IMAGES)
    record_verdicts(found)
    require_verdict(found, "")
    with pytest.raises(VerificationError, match="partly verified, but --require verified") as caught:
        require_verdict(found, "verified")
    assert "no --image" in str(caught.value.hint)
    assert caught.value.exit_code == 9


def test_integers_of_another_file_do_not_lower_a_verdict() -> None:
    """What an engine's rounding decides says nothing about the ONNX file."""
    found = report(2, 4, kinds=("onnx", "engine"))
    found.artifacts = [ArtifactRecord("engine", "tensorrt", "fp16", status="passed")]
    found.link(4).checks = [Check("classes", "share", 1.0, 1.0, True, kind="samples", ignored=0.03, artifact="engine")]
    record_verdicts(found)
    assert {name: file.verdict.word for name, file in found.files.items() if file.verdict} == {
        "onnx": "verified",
        "engine": "partly verified",
    }
