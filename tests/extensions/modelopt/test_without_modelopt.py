"""The extension where ModelOpt is missing, and its settings: nothing of it is needed here."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

pytest.importorskip("adaptrt_modelopt", reason="the extension is not installed (pip install adaptrt-modelopt)")

import adaptrt
from adaptrt import Conversion, Request, SettingsError
from adaptrt_modelopt.settings import Settings, settings_of


@pytest.mark.skipif(importlib.util.find_spec("modelopt") is not None, reason="ModelOpt is installed")
def test_without_modelopt_core_types_the_graph_and_a_note_says_so(tiny: str) -> None:
    report = adaptrt.convert("detector", adapter=tiny, precision="fp16", target=10, verify="quick")
    assert report.link(3).status == "passed"
    assert any(note.startswith("AutoCast is not used: nvidia-modelopt is missing") for note in report.notes)


@pytest.mark.parametrize(("precision", "target"), [("fp32", 10), ("fp16", 8)])
def test_where_the_graph_stays_float32_nothing_is_said(tiny: str, precision: str, target: int) -> None:
    report = adaptrt.convert("detector", adapter=tiny, precision=precision, target=target, verify="none")
    assert "reduced" not in report.files
    assert not any("AutoCast" in note for note in report.notes)


def settings(**table: object) -> Settings:
    return settings_of(Conversion(Request("detector", "tiny"), None, Path(), {"modelopt": table} if table else {}))


def test_settings() -> None:
    assert settings() == Settings()
    found = settings(data_max=1000, nodes_to_exclude=["^head"])
    assert (found.data_max, found.nodes_to_exclude, found.samples) == (1000, ("^head",), 4)


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        ({"data_mx": 3}, "unknown key 'data_mx'", "Did you mean 'data_max'?"),
        ({"samples": True}, "samples is True", "Expected int, got bool."),
        ({"samples": -1}, "samples must be at least 0; got -1", None),
        ({"data_max": "512"}, "data_max is '512'", "Expected float, got str."),
        ({"nodes_to_exclude": "head"}, "nodes_to_exclude is 'head'", "Expected array, got str."),
        ({"data_max": 0}, "data_max must be above 0; got 0", None),
    ],
)
def test_wrong_settings(table: dict[str, object], message: str, hint: str | None) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        settings(**table)
    assert caught.value.hint == hint


def test_invalid_settings_are_reported_before_the_export(tiny: str) -> None:
    Path("plugins.toml").write_text("[settings.modelopt]\nsmaples = 3\n")
    with pytest.raises(SettingsError, match="smaples"):
        adaptrt.convert("detector", adapter=tiny, verify="none", plugins_file="plugins.toml")


@pytest.mark.skipif(importlib.util.find_spec("modelopt") is not None, reason="ModelOpt is installed")
def test_without_modelopt_core_quantizes_and_a_note_says_so(tiny: str, image: Path) -> None:
    adaptrt.convert("detector", adapter=tiny, to="onnx", verify="none", html=False)
    for index in range(2):
        shutil.copy(image, image.with_name(f"calib{index}.png"))
    report = adaptrt.build(
        "detector.onnx", precision="int8", calib=str(image.parent / "calib*.png"), quantize_also="Conv", to="onnx",
        verify="none", html=False, output="det.int8.onnx",
    )  # fmt: skip
    assert any(
        note.startswith("ModelOpt's quantization is not used: nvidia-modelopt is missing") for note in report.notes
    )
    assert any(note.startswith("int8: ") and "minmax over" in note for note in report.notes)
