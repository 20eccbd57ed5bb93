"""Lays out the pages of the documentation site in build/site-pages, and writes its navigation: ``make site`` builds it.

Pages are those of the repository, unchanged. Links to files that are not pages, such as source files, lead to the repository.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from repository import repository

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
REPOSITORY, _ = repository()
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
SECTIONS = {
    "Tutorials": "docs/tutorial",
    "How-to guides": "docs/how-to",
    "Reference": "docs/reference",
    "Explanation": "docs/explanation",
    "Examples": "docs/examples",
    "Adapters": "adapters",
    "Extensions": "extensions",
}


def tracked(root: Path = ROOT) -> list[Path]:
    """The files of the repository, relative to it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (root / name).exists()]


def is_page(path: Path) -> bool:
    """Whether the site shows it: the READMEs of the repository and its distributions, and all of docs/."""
    if path.suffix == ".md":
        top = path.parts[0]
        return top == "docs" or len(path.parts) == 1 or (top in ("adapters", "extensions") and path.name == "README.md")
    return path.suffix in (".png", ".jpg", ".svg") and path.parts[0] == "docs"


def on_site(text: str, page: Path, pages: set[Path], root: Path = ROOT) -> str:
    """The text of a page with the links that lead out of the site made absolute; code blocks are unchanged."""

    def link(match: re.Match[str]) -> str:
        target = match[2]
        if re.match(r"[a-z]+:", target):
            return match[0]
        place = (root / page.parent / target).resolve()
        if not place.is_relative_to(root) or not place.exists():
            return match[0]  # the build names it
        relative = place.relative_to(root)
        if relative in pages:
            return match[0]
        return f"{match[1]}{REPOSITORY}/{'tree' if place.is_dir() else 'blob'}/main/{relative.as_posix()}{match[3]}"

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(link, text[end:])])


def title(page: Path, root: Path = ROOT) -> str:
    """The first heading; the builder finds none behind a comment, and would show the name of the file."""
    found = re.search(r"^# (.+)$", (root / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{page} needs a heading"
    return found[1]


def in_order(pages: list[Path], root: Path = ROOT) -> list[Path]:
    """The pages as docs/README.md lists them, from the first steps on; then the others by name."""
    text = (root / "docs/README.md").read_text(encoding="utf-8")
    links = [(root / "docs" / match[2]).resolve() for match in LINK.finditer(text)]
    return sorted(pages, key=lambda page: (links.index(root / page) if root / page in links else len(links), page))


def navigation(pages: list[Path]) -> list[object]:
    """The sections of the site; pages by their heading."""
    nav: list[object] = [{"adaptrt": "README.md"}, {"All pages": "docs/README.md"}]
    for section, folder in SECTIONS.items():
        found = [page for page in pages if page.suffix == ".md" and page.as_posix().startswith(f"{folder}/")]
        nav.append({section: [{title(page): page.as_posix()} for page in in_order(found)]})
    return [*nav, {"Contributing": "CONTRIBUTING.md"}, {"Changelog": "CHANGELOG.md"}]


def main() -> None:
    folder = BUILD / "site-pages"
    shutil.rmtree(folder, ignore_errors=True)
    pages = [path for path in tracked() if is_page(path)]
    known = set(pages)
    for page in pages:
        target = folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if page.suffix == ".md":
            text = (ROOT / page).read_text(encoding="utf-8")
            target.write_text(on_site(text, page, known), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / page, target)
    # JSON is YAML
    nav = json.dumps(navigation(pages), indent=2)
    (BUILD / "mkdocs.yml").write_text(
        f"INHERIT: ../mkdocs.yml\ndocs_dir: site-pages\nsite_dir: site\nnav: {nav}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
