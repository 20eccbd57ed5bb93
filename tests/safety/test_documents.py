"""Reports, manifests, caches, plugins.toml, annotations and headers that name code, files elsewhere, or nonsense."""

from __future__ import annotations

import pytest
from canary import Outcome, check, missing, parameters
from hostile.case import Case
from hostile.documents import CASES

ROAD = "documents"


@pytest.mark.parametrize("case", parameters(CASES))
def test_what_a_file_names_is_not_run(case: Case, met: dict[str, Outcome]) -> None:
    if missing(case):
        pytest.skip(f"{', '.join(missing(case))} is not installed")
    check(case, met[case.name])
    if case.name.startswith("cache-"):
        assert (met[case.name].folder / "victim").read_text() == "precious"
