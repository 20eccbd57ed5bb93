"""The page of errors lists the exit codes of signals and of a closed pipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adaptrt.cli.boundary import BROKEN_PIPE, INTERRUPTED

PAGE = Path(__file__).parents[2] / "docs/reference/errors.md"


@pytest.mark.parametrize("code", [BROKEN_PIPE, INTERRUPTED])
def test_the_page_of_errors_explains(code: int) -> None:
    assert re.search(rf"\b{code} is ", PAGE.read_text(encoding="utf-8"))
