"""Files of labels, as every adapter reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from adaptrt.errors import UsageError
from adaptrt.labels import LabelOptions, read_labels
from adaptrt.options import fill_options


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "\ufeffcat\n\n dog \n"),
        ("labels.names", "cat\r\ndog"),
        ("labels.json", '["cat", "dog"]'),
        ("labels.JSON", '{"1": "dog", "0": "cat"}'),
    ],
)
def test_labels(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / name) == ("cat", "dog")


@pytest.mark.parametrize("text", ["{", '"cat"', '{"cat": 0}', "[" * 100_000])
def test_files_that_hold_no_labels(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(UsageError, match="not a JSON list of label names"):
        read_labels(tmp_path / "labels.json")


def test_an_option_of_an_adapter(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Options(LabelOptions):
        size: int = 3

    (tmp_path / "labels.txt").write_text("cat")
    assert Options().class_names == ()
    assert fill_options(Options, {"labels": str(tmp_path / "labels.txt"), "size": "4"}).class_names == ("cat",)
    with pytest.raises(UsageError, match="cannot be read"):
        fill_options(Options, {"labels": str(tmp_path / "none.txt")})
