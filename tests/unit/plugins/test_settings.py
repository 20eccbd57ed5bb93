"""plugins.toml: what it may hold, and how precisely an error says where it is wrong."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.errors import SettingsError
from adaptrt.plugins.settings import PluginChoice, Settings, read_settings, user_settings_path

GOOD = """
[adapters.yolov5]
distribution = "adaptrt-ultralytics"
summary = "YOLOv5"
framework = "ultralytics>=8.3"
license = "AGPL-3.0-or-later"

[plugins]
modules = ["blur.py", "mine.extension"]
disable = ["other"]

[settings.blur]
radius = 3
nested = {deep = [1, 2]}
"""


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "plugins.toml"
    path.write_text(text, encoding="utf-8")
    return read_settings(path)


def test_a_whole_file(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD)
    assert settings.adapters["yolov5"].distribution == "adaptrt-ultralytics"
    assert settings.plugins == PluginChoice(modules=("blur.py", "mine.extension"), disable=("other",))
    assert settings.settings == {"blur": {"radius": 3, "nested": {"deep": [1, 2]}}}
    assert read(tmp_path, "") == Settings()


def test_the_projects_own_file() -> None:
    path = Path(__file__).parents[3] / "plugins.toml"
    assert "yolov5" in read_settings(path).adapters


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "hint"),
    [
        ("[plugins]", "[plugin]", 8, "unknown key 'plugin'", "Did you mean 'plugins'?"),
        ("disable", "disabled", 10, "unknown key 'plugins.disabled'", "Did you mean 'disable'?"),
        ("summary", "sumary", 4, "unknown key 'adapters.yolov5.sumary'", "Did you mean 'summary'?"),
        ("[settings.blur]", "[setings.blur]", 12, "unknown key 'setings'", "Did you mean 'settings'?"),
        ('["other"]', '"other"', 10, "plugins.disable: Expected array, got str.", None),
        ('["other"]', "[7]", 10, "plugins.disable.0: Expected str, got int.", None),
        ('summary = "YOLOv5"', "", 2, "adapters.yolov5.summary: the key is required.", None),
        ("[settings.blur]\nradius = 3", "[settings]\nblur = 3", 13, "settings.blur: Expected table, got int.", None),
    ],
)
def test_errors_name_file_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, message: str, hint: str | None
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert caught.value.message.startswith(f"{tmp_path / 'plugins.toml'}:{line}: {message}")
    if hint:
        assert caught.value.hint == hint


def test_wrong_toml_has_its_place(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"is not valid TOML: .*line 3"):
        read(tmp_path, "[plugins]\nmodules = [\n  'a',,\n]")


def test_brackets_without_end(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not valid TOML"):
        read(tmp_path, "a = " + "[" * 50_000)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist") as caught:
        read_settings(tmp_path / "none.toml")
    assert "--plugins" in (caught.value.hint or "")


def test_a_pipe_is_rejected(tmp_path: Path) -> None:
    """The file is read by each session of a job; the second time, a pipe is empty."""
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(SettingsError, match="is a pipe"):
        read_settings(tmp_path / "pipe.toml")


def test_a_folder_or_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read: Is a directory\.") as caught:
        read_settings(tmp_path)
    assert caught.value.hint
    (tmp_path / "plugins.toml").write_bytes(b"\xff\xfe[")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "plugins.toml")


def test_where_the_users_file_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_settings_path() == tmp_path / "adaptrt" / "plugins.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_settings_path() == tmp_path / ".config" / "adaptrt" / "plugins.toml"


keys = st.one_of(
    st.sampled_from(["adapters", "plugins", "settings", "modules", "disable", "distribution", "summary", "license"]),
    st.text(max_size=5),
)
scalars = st.one_of(st.text(max_size=5), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(), st.dates())
tables = st.recursive(
    st.one_of(scalars, st.lists(scalars, max_size=2)),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def as_toml(value: Any) -> str:
    """TOML of a value; inline tables all the way down."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return str(value)


@given(st.dictionaries(keys, tables, max_size=3))
def test_any_toml_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_text("".join(f"{as_toml(key)} = {as_toml(value)}\n" for key, value in content.items()))
    try:
        assert isinstance(read_settings(path), Settings)
    except SettingsError as error:
        assert str(path) in error.message
        assert "is not valid TOML" not in error.message


@given(st.one_of(st.text(), st.text(st.sampled_from("[]{}=\"'.,\n#ap1-_ \\"), max_size=40), st.binary()))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        assert isinstance(read_settings(path), Settings)
    except SettingsError as error:
        assert str(path) in error.message
