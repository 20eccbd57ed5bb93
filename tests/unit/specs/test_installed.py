"""How this project's distributions are installed, from an index and from a clone."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from adaptrt.conversion_file import read_conversion
from adaptrt.plugins.discovery import ADAPTERS, find_candidates
from adaptrt.specs import installed
from adaptrt.specs.installed import declaring_distributions, install_target, installed_distribution
from adaptrt.specs.registry import _EXTENSIONS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``origin(url)``: where pip says that it installed adaptrt from; ``None`` for an index."""

    class Distribution:
        url: str | None = None

        def read_text(self, _: str) -> str | None:
            return None if self.url is None else json.dumps({"url": self.url, "dir_info": {}})

    def set_url(url: str | None) -> None:
        Distribution.url = url
        installed._clone.cache_clear()

    monkeypatch.setattr(metadata, "distribution", lambda _: Distribution())
    yield set_url
    monkeypatch.undo()
    installed._clone.cache_clear()


def test_the_name_or_the_folder_of_the_clone(origin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = tmp_path / "my clone"
    for folder in ("adapters/timm", "extensions/ray"):
        (clone / folder).mkdir(parents=True)
        (clone / folder / "pyproject.toml").touch()
    origin(None)
    assert install_target("adaptrt-timm") == "adaptrt-timm"
    origin((tmp_path / "adaptrt-0.1.0.whl").as_uri())
    assert install_target("adaptrt-timm") == "adaptrt-timm"
    origin(clone.as_uri())
    monkeypatch.chdir(clone)
    assert install_target("adaptrt-timm") == "./adapters/timm"
    assert install_target("adaptrt-other") == "adaptrt-other"
    monkeypatch.chdir(tmp_path)
    assert install_target("adaptrt-ray") == "'./my clone/extensions/ray'"
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert install_target("adaptrt-ray") == f"'{clone}/extensions/ray'"


def _write(folder: Path, file: str, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / file).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (folder / "entry_points.txt").write_text("[adaptrt.adapters]\nedges = adaptrt_edges\n")


def _edges() -> list[str]:
    return [one.source for one in find_candidates(ADAPTERS) if one.name == "edges"]


def test_sources_and_what_was_installed_from_them_are_one_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """setuptools leaves an .egg-info in the folder, and Python has that folder on its path when it runs there."""
    sources, site = tmp_path / "sources", tmp_path / "site"
    _write(sources / "adaptrt_edges.egg-info", "PKG-INFO", "adaptrt-edges")
    monkeypatch.syspath_prepend(str(sources))
    assert _edges() == ["adaptrt-edges 0.1.0"]
    _write(site / "adaptrt_edges-0.1.0.dist-info", "METADATA", "Adaptrt_Edges")
    monkeypatch.syspath_prepend(str(site))
    assert _edges() == ["Adaptrt_Edges 0.1.0"]
    assert [name for name, _ in declaring_distributions()].count("Adaptrt_Edges") == 1
    monkeypatch.syspath_prepend(str(sources))
    assert _edges() == ["adaptrt-edges 0.1.0"]


def test_the_installers_record_is_found_behind_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, site = tmp_path / "sources", tmp_path / "site"
    _write(sources / "adaptrt_edges.egg-info", "PKG-INFO", "adaptrt-edges")
    monkeypatch.syspath_prepend(str(sources))
    assert installed_distribution("adaptrt-edges").read_text("RECORD") is None
    _write(site / "adaptrt_edges-0.1.0.dist-info", "METADATA", "adaptrt-edges")
    (site / "adaptrt_edges-0.1.0.dist-info" / "RECORD").write_text("adaptrt_edges.py,sha256=1,1\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert installed_distribution("adaptrt-edges").read_text("RECORD")


def test_every_extension_that_is_chosen_by_name_is_known() -> None:
    found = {}
    for path in (ROOT / "extensions").glob("*/pyproject.toml"):
        project = read_conversion(path)["project"]
        for group, points in project["entry-points"].items():
            if group != "adaptrt.extensions":
                found |= {(group, name): project["name"] for name in points}
    assert found == _EXTENSIONS
