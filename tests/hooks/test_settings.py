"""plugins.toml in a conversion: which file is read, and what it may do; and calls of hooks, traced."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

import adaptrt
from adaptrt import PluginError, Report, SettingsError
from adaptrt.pipeline.sessions import listen_to_hooks, open_session
from adaptrt.plugins.trace import trace_line

Convert = Callable[..., Report]
Install = Callable[..., str]


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "plugins.toml"
    path.write_text(dedent(text))
    return path


def test_disabled_in_plugins_toml(convert_with: Convert, tmp_path: Path) -> None:
    path = settings_file(tmp_path, "[plugins]\ndisable = ['ext']\n")
    session, _ = open_session(None, path)
    assert "ext" not in session.sources
    report = convert_with("raise AssertionError", verify="none", plugins_file=path)
    assert report.warnings == []
    assert "extension_ext" not in sys.modules


def test_modules_of_the_current_folder_wait_for_the_flag(tiny: str, tmp_path: Path) -> None:
    settings_file(Path(), "[plugins]\nmodules = ['mine.py']\n")
    Path("mine.py").write_text("raise AssertionError")
    report = adaptrt.convert("detector", adapter="tiny", verify="none")
    assert report.warnings == [
        "plugins.toml in this folder names modules (mine.py): not loaded without --plugins plugins.toml."
    ]
    Path("mine.py").write_text(
        "from adaptrt import hookimpl\n@hookimpl\ndef conversion_finished(report): report.notes.append('mine')\n"
    )
    report = adaptrt.convert("detector", adapter="tiny", verify="none", plugins_file="plugins.toml")
    assert report.notes == ["mine"]
    assert report.plugins["mine.py"] == "plugins.toml"


def test_settings_of_the_current_folder_wait_for_the_flag(
    tiny: str, tmp_path: Path, install_extension: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned folder must not redirect where an installed extension sends data."""
    install_extension(
        "ext", "@hookimpl\ndef conversion_finished(ctx, report): report.notes.append(str(ctx.settings))\n"
    )
    text = "[settings.ext]\nuri = 'https://evil.example'\n"
    settings_file(Path(), text)
    report = adaptrt.convert("detector", adapter="tiny", verify="none")
    assert report.warnings == ["[settings.ext] in plugins.toml in this folder: ignored without --plugins plugins.toml."]
    assert report.notes == ["{}"]
    told = str({"ext": {"uri": "https://evil.example"}})
    report = adaptrt.convert("detector", adapter="tiny", verify="none", plugins_file="plugins.toml")
    assert (report.warnings, report.notes) == ([], [told])
    Path("plugins.toml").unlink()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "config" / "adaptrt"
    own.mkdir(parents=True)
    settings_file(own, text)
    assert adaptrt.convert("detector", adapter="tiny", verify="none").notes == [told]


def test_the_users_own_file_is_trusted(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "config" / "adaptrt"
    home.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.parent))
    settings_file(home, "[plugins]\nmodules = ['users.py']\n")
    (home / "users.py").write_text(
        "from adaptrt import hookimpl\n@hookimpl\ndef conversion_finished(report): report.notes.append('user')\n"
    )
    assert adaptrt.convert("detector", adapter="tiny", verify="none").notes == ["user"]


@pytest.mark.parametrize("module", ["nothing.here", "missing.py", "."])
def test_a_module_that_was_asked_for_and_is_not_there(module: str, tiny: str, tmp_path: Path) -> None:
    path = settings_file(tmp_path, f"[plugins]\nmodules = ['{module}']\n")
    with pytest.raises(PluginError, match=f"Module '{re.escape(module)}' of plugins.toml cannot be imported") as caught:
        open_session("tiny", path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("source", "said", "hint"),
    [
        ("import not_there\n", "ModuleNotFoundError: No module named 'not_there'", "Raised at mine.py:1."),
        ("\ndef broken(:\n", "SyntaxError", "Raised at mine.py:2."),
        (None, "FileNotFoundError", "Check its name, and that it is installed or next to mine.toml."),
    ],
)
def test_why_a_module_cannot_be_imported(source: str | None, said: str, hint: str, tmp_path: Path) -> None:
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    (tmp_path / "mine.toml").write_text("[plugins]\nmodules = ['mine.py']\n")
    with pytest.raises(PluginError, match=r"Module 'mine.py' of mine.toml cannot be imported") as caught:
        open_session(None, tmp_path / "mine.toml")
    assert said in caught.value.message
    assert (caught.value.hint or "").startswith(hint)


def test_a_file_named_without_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "mine.toml").write_text("[plugins]\nmodules = ['mine']\n")
    with pytest.raises(PluginError, match="No module named 'mine'") as caught:
        open_session(None, tmp_path / "mine.toml")
    assert caught.value.hint == "A file next to mine.toml is named with its suffix: 'mine.py'."


def test_a_python_file_as_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from adaptrt import hookimpl\n")
    with pytest.raises(SettingsError, match="mine.py is not valid TOML") as caught:
        open_session(None, tmp_path / "mine.py")
    assert 'modules = ["mine.py"]' in (caught.value.hint or "")


def test_a_module_named_twice(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(PluginError, match=r"mine.py .*: a plugin of this name is active already, from .*plugins.toml"):
        open_session("tiny", settings_file(tmp_path, "[plugins]\nmodules = ['mine.py', 'mine.py']\n"))


def test_settings_reach_the_plugins(convert_with: Convert, tmp_path: Path) -> None:
    path = settings_file(tmp_path, "[settings.ext]\nradius = 3\n")
    report = convert_with(
        "@hookimpl\ndef model_spec(ctx): calls.append(dict(ctx.settings['ext']))\n", verify="none", plugins_file=path
    )
    assert report.calls == [{"radius": 3}]  # type: ignore[attr-defined]


def test_a_wrong_settings_file_ends_the_conversion(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"plugins.toml:1: unknown key 'plugin'"):
        adaptrt.convert("detector", adapter="tiny", plugins_file=settings_file(tmp_path, "[plugin]\n"))
    assert list(Path().iterdir()) == []


def test_hooks_can_be_traced(tiny: str, capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with listen_to_hooks(lambda call: lines.append(trace_line(call))):
        adaptrt.convert("detector", adapter="tiny", verify="none")
    assert "hook " not in capfd.readouterr().err  # the library itself prints nothing
    told = {tuple(line.split()[1:3]): line.partition(" ms  ")[2] for line in lines}
    assert all(re.fullmatch(r"hook \w+ +\S+ +[\d.]+ ms  .+", line) for line in lines)
    assert told["adapter_options", "tiny"] == "returned: TinyOptions"
    assert told["load_model", "tiny"] == "returned: Detector"
    assert told["model_spec", "tiny"] == "returned: ModelSpec"
    assert told["example_inputs", "core.conversion"] == "returned: images float32 2x3x64x64"
    assert told["patches", "tiny"] == "returned: 2 (tinyvision.nets:cell_centers, tinyvision.nets:Flatten)"
    assert told["export_onnx", "core.conversion"] == "returned: exported.onnx"
    assert told["graph_passes", "core.conversion"].startswith("returned: 6 (fold, clean, gather, ")
    assert told["build_engine", "core.engine"] == "passed"


def test_a_hook_that_fails_is_traced_too(tiny: str, install_extension: Install) -> None:
    install_extension("bad", "@hookimpl\ndef patches():\n    raise TypeError('no')\n")
    install_extension("around", "@hookimpl(wrapper=True)\ndef patches():\n    return (yield)\n")
    lines: list[str] = []
    with listen_to_hooks(lambda call: lines.append(trace_line(call))), pytest.raises(PluginError):
        adaptrt.convert("detector", adapter="tiny", verify="none")
    for plugin in ("bad", "around"):
        assert any(re.match(rf"hook patches +{plugin} .* ms  failed: TypeError: no$", line) for line in lines)
