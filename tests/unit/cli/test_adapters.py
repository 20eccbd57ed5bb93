"""``adaptrt adapters`` and ``adaptrt plugins``: what is installed, and why it does not work."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from installed import require_distributions

from adaptrt.plugins.catalog import catalog_path, read_catalog


def row(result: Any, name: str) -> dict[str, Any]:
    (found,) = (one for one in result.json["installed"] if one["name"] == name)
    return found


def test_an_adapter_with_what_it_is_for(adaptrt: Any, fake_distribution: Any) -> None:
    fake_distribution(
        "adaptrt-zoo", {"adaptrt.adapters": {"zebra": "zoo.zebra"}}, version="2.1", requires=["click>=8", "adaptrt"],
        summary="Animals of the zoo framework",
    )  # fmt: skip
    result = adaptrt("adapters")
    assert result.code == 0
    for piece in ("adaptrt-zoo 2.1", "Animals of the zoo framework", "for click>=8 (", "zebra", "ok"):
        assert piece in result.out
    assert row(adaptrt("adapters", "--json"), "zebra")["problems"] == []


def test_a_broken_one_says_why_and_what_to_do(adaptrt: Any, fake_distribution: Any) -> None:
    fake_distribution(
        "adaptrt-zoo",
        {"adaptrt.adapters": {"zebra": "zoo"}},
        requires=["zooframework>=3", "click>=99", "absent; python_version < '3'"],
    )
    result = adaptrt("adapters")
    assert result.code == 0
    for piece in (
        "broken",
        "zooframework is missing",
        "click is 8",
        "pip install --upgrade adaptrt-zoo",
        "not installed",
    ):
        assert piece in result.out
    assert "absent" not in result.out


def test_two_distributions_of_one_name_are_shown(adaptrt: Any, fake_distribution: Any) -> None:
    fake_distribution("adaptrt-zoo", {"adaptrt.adapters": {"zebra": "zoo"}})
    fake_distribution("adaptrt-farm", {"adaptrt.adapters": {"zebra": "farm"}}, version="4.0")
    out = adaptrt("adapters").out
    assert "zebra is also claimed by adaptrt-farm 4.0: uninstall one of them" in out
    assert "zebra is also claimed by adaptrt-zoo 1.0: uninstall one of them" in out


def test_none_is_imported(adaptrt: Any, fake_distribution: Any) -> None:
    fake_distribution(
        "adaptrt-bomb", {"adaptrt.adapters": {"bomb": "bomb"}}, modules={"bomb": "raise SystemExit('imported')"}
    )
    assert adaptrt("adapters").code == 0
    assert "bomb" not in sys.modules


GOOD = """
    from adaptrt import hookimpl

    @hookimpl
    def load_model(ctx):
        return None
"""


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (GOOD, None),
        ("import absent_framework", "No module named 'absent_framework'"),
        ("x = 1", "has no load_model hook"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import os; os._exit(0)", "code 0"),
    ],
)
def test_check_imports_each_in_a_separate_process(
    adaptrt: Any, fake_distribution: Any, monkeypatch: pytest.MonkeyPatch, source: str, problem: str | None
) -> None:
    folder = fake_distribution("adaptrt-zoo", {"adaptrt.adapters": {"zebra": "zoo"}}, modules={"zoo": source})
    monkeypatch.setenv("PYTHONPATH", str(folder))
    only = _only(monkeypatch, "zebra")
    result = adaptrt("adapters", "--check", "--json")
    problems = row(result, only)["problems"]
    assert "zoo" not in sys.modules
    if problem is None:
        assert (result.code, problems) == (0, [])
    else:
        assert result.code == 3
        assert problem in problems[0]


def _only(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """Leave the adapters out that this environment has: importing them is another test's matter."""
    everything = list(metadata.distributions())
    others = {
        found.name for found in everything for entry in found.entry_points
        if entry.group == "adaptrt.adapters" and entry.name != name
    }  # fmt: skip
    kept = [found for found in everything if found.name not in others]
    monkeypatch.setattr(metadata, "distributions", lambda: kept)
    monkeypatch.setattr("adaptrt.specs.installed._clone", lambda: None)  # as installed from an index
    return name


def test_all_lists_the_catalog_too(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "nothing")
    result = adaptrt("adapters", "--all")
    assert "No adapter is installed." in result.out
    for name, entry in read_catalog().items():
        assert name in result.out
        assert f"pip install {entry.distribution}" in result.out


def test_the_catalog_of_a_checkout_is_plugins_toml() -> None:
    assert catalog_path().name in ("plugins.toml", "catalog.toml")
    assert {"yolo", "yolov5"} <= set(read_catalog())


def test_plugins_shows_who_takes_part(adaptrt: Any, tiny: str, install_extension: Any) -> None:
    install_extension("blur", "@hookimpl\ndef graph_passes(ctx, spec):\n    return []\n")
    found = adaptrt("plugins", "--adapter", tiny, "--json").json["plugins"]
    names = [one["name"] for one in found]
    assert names.index("blur") == names.index("tiny") + 1  # extensions follow the adapter, by name
    assert found[names.index("blur")] == {
        "name": "blur",
        "source": "adaptrt-blur 1.0",
        "hooks": ["graph_passes"],
        "status": "active",
    }
    text = adaptrt("plugins", "--adapter", tiny, "-v").out
    assert "graph_passes           blur, core.conversion" in text


def test_plugins_says_what_was_left_out(
    adaptrt: Any, install_extension: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install_extension("sick", "import absent_framework")
    install_extension("ill", "", requires=["absent-framework>=3"])
    install_extension("idle", "")
    Path("plugins.toml").write_text('[plugins]\ndisable = ["idle"]\n')
    result = adaptrt("plugins")
    assert result.code == 0
    assert "Warning: Skipping extension sick" in result.err
    rows = {row["name"]: row for row in adaptrt("plugins", "--json").json["plugins"]}
    assert rows["core.engine"]["status"] == "active"
    assert rows["sick"]["status"].startswith("skipped: sick (adaptrt-sick 1.0) cannot be imported")
    assert rows["ill"]["status"] == "skipped: absent-framework is missing (needs absent-framework>=3)"
    assert rows["idle"] == {
        "name": "idle",
        "source": "adaptrt-idle 1.0",
        "hooks": [],
        "status": "skipped: disabled in plugins.toml",
    }
    for name in ("sick", "ill", "idle"):
        assert re.search(rf"^{name}  adaptrt-{name} 1.0  skipped: ", result.out, re.MULTILINE)


def test_an_adapter_of_the_catalog_that_is_not_here_has_its_line(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, "nothing")
    result = adaptrt("convert", "best.pt", "--adapter", "yolov5")
    assert result.code == 3
    assert result.err == "Error: Adapter 'yolov5' is not installed.\nInstall it: pip install adaptrt-ultralytics\n"
    unknown = adaptrt("convert", "best.pt", "--adapter", "zebra")
    assert "No adapter is installed. See: adaptrt adapters --all" in unknown.err


def test_with_no_adapter_at_all_the_catalog_is_the_next_step(
    adaptrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(monkeypatch, "nothing")
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(2)}, "best.pt")
    result = adaptrt("convert", "best.pt")
    assert result.code == 2
    assert "adaptrt adapters --all" in result.err


def test_licenses_are_shown(adaptrt: Any) -> None:
    require_distributions("adaptrt-ultralytics", reason="its license is shown")
    shown = adaptrt("adapters")
    assert "AGPL-3.0-or-later" in shown.out
    rows = adaptrt("adapters", "--json").json["installed"]
    assert {row["license"] for row in rows if row["distribution"] == "adaptrt-ultralytics"} == {"AGPL-3.0-or-later"}
