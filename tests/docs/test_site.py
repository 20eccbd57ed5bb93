"""The documentation site: which pages it has, and where links that leave it lead. ``make site`` builds it and checks all links."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs" / "generators"))
site, repository = (importlib.import_module(name) for name in ("site_pages", "repository"))

PAGES = {path for path in site.tracked() if site.is_page(path)}


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](how-to/use-in-ci.md#x)", "[a](how-to/use-in-ci.md#x)"),
        ("[a](../core/adaptrt/report.py)", f"[a]({site.REPOSITORY}/blob/main/core/adaptrt/report.py)"),
        ("[a](../tests/hooks)", f"[a]({site.REPOSITORY}/tree/main/tests/hooks)"),
        ("[a](https://example.org)", "[a](https://example.org)"),
        ("[a](no-such.md)", "[a](no-such.md)"),  # the build names it
        ("```text\n[a](../LICENSE)\n```", "```text\n[a](../LICENSE)\n```"),
    ],
)
def test_links(link: str, expected: str) -> None:
    assert site.on_site(link, Path("docs/README.md"), PAGES) == expected


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"'([^']+\.md)'", repr(site.navigation(sorted(PAGES))))
    pages = {path.as_posix() for path in PAGES if path.suffix == ".md"}
    assert sorted(listed) == sorted(pages - {"docs/README.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"}) or (
        set(listed) == pages and len(listed) == len(pages)
    )


def test_pages_are_called_by_their_heading() -> None:
    """Generated pages start with a comment, behind which MkDocs finds no heading."""
    sections = {name: pages for section in site.navigation(sorted(PAGES)) for name, pages in section.items()}
    named = {path: name for one in sections["Reference"] for name, path in one.items()}
    assert named["docs/reference/api.md"] == "Python API"
    assert named["docs/reference/cli.md"] == "Command line"


def test_every_page_of_the_documentation_is_listed_on_its_start_page() -> None:
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [
        page for page in PAGES
        if page.suffix == ".md" and page.parts[0] == "docs" and page.parts[1] in ("tutorial", "how-to", "reference", "explanation")
        and page.relative_to("docs").as_posix() not in text
    ]  # fmt: skip
    assert missing == []


def test_the_address_of_the_repository_is_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """``make docs`` writes it everywhere else, and no other file has it."""
    address, name = repository.repository()
    files = repository.files()
    naming = {path for path in site.tracked() if address in (ROOT / path).read_bytes().decode(errors="replace")}
    assert naming == set(map(Path, files))
    monkeypatch.setattr(repository, "repository", lambda: ("https://git.example.org/us/tool", "us/tool"))
    for make in files.values():
        assert "https://git.example.org/us/tool" in make()
        assert name not in make()


def test_sections_begin_with_the_first_steps() -> None:
    sections = {name: pages for section in site.navigation(sorted(PAGES)) for name, pages in section.items()}
    assert [next(iter(page)) for page in sections["Tutorials"]] == ["Your first conversion", "An adapter in ten lines"]
    assert next(iter(sections["How-to guides"][0].values())) == "docs/how-to/custom-checkpoint.md"
    assert next(iter(sections["Reference"][0].values())) == "docs/reference/cli.md"
