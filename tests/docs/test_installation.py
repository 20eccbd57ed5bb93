"""Commands that install adaptrt work from a package index and from a clone."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "docs/README.md", *ROOT.glob("adapters/*/README.md"), *ROOT.glob("extensions/*/README.md")])
_INSTALLS = re.compile(r"^(?:\$ )?pip install [^\n]*adaptrt", re.MULTILINE)
_FOLDER = re.compile(r"\./(?:adapters|extensions)/[a-z]+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_that_installs_from_an_index_says_how_from_a_clone(page: Path) -> None:
    text = page.read_text()
    if _INSTALLS.search(text):
        assert "From a clone: `pip install" in text
    for folder in _FOLDER.findall(text):
        assert (ROOT / folder / "pyproject.toml").is_file(), folder
