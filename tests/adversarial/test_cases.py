"""No adversarial model is called verified, and each correct sibling is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from adversarial_cases import EXTENSION, EXTENSION_SOURCE, Case, all_cases

from adaptrt import AdaptrtError

for _module in ("torch", "onnx", "onnxruntime", "adaptrt_torch"):
    pytest.importorskip(_module, reason=f"the cases are converted, which needs {_module}")

CASES = [(subject, case) for subject, cases in all_cases().items() for case in cases]
PARAMETERS = [
    pytest.param(case, id=f"{subject}-{case.name}", marks=() if case.everyday else pytest.mark.full)
    for subject, case in CASES
]

SIBLINGS = [parameter for parameter, (_, case) in zip(PARAMETERS, CASES, strict=True) if not case.sibling]


@pytest.fixture(autouse=True)
def _fault_extension(install_extension: Callable[..., str]) -> None:
    install_extension(EXTENSION, EXTENSION_SOURCE)


@pytest.mark.parametrize("case", PARAMETERS)
def test_the_wrong_one_is_not_verified(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        report = case.convert(tmp_path, wrong=True)
    except AdaptrtError as error:
        assert case.error, f"ends with an error instead of a verdict: {error.message}"
        said = f"{error.message} {error.hint or ''}"
        assert re.search(case.error, said), said
        return
    verdict = report.verdict
    assert verdict is not None
    assert verdict.word != "verified"
    assert case.missing, f"no error: {verdict}"
    assert re.search(case.missing, "\n".join(verdict.missing)), verdict


@pytest.mark.full
@pytest.mark.parametrize("case", SIBLINGS)
def test_its_sibling_is_verified(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    verdict = case.convert(tmp_path, wrong=False).verdict
    assert verdict is not None
    assert verdict.word == "verified", verdict.missing


def test_names_are_unique() -> None:
    names = [case.name for _, case in CASES]
    assert len(set(names)) == len(names)
    alone = {parameter.values[0].name for parameter in SIBLINGS}
    assert {case.sibling for _, case in CASES if case.sibling} <= alone
