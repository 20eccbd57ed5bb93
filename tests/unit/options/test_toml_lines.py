"""Where a key is in a TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.toml_lines import place_of

TEXT = """\
source = "best.pt"

[set]
conf = "0.4"

[axes]
"imgsz" = [256, 320]
inline = {a = 1, b = 2}
"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("source",), ":1"),
        (("set",), ":3"),
        (("set", "conf"), ":4"),
        (("axes", "imgsz"), ":7"),
        (("axes", "inline", "b"), ":8"),
        (("set", "other"), ":3"),  # the nearest one that is there
        (("other",), ""),
    ],
)
def test_the_line_of_a_key(tmp_path: Path, keys: tuple[str, ...], line: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(TEXT)
    assert place_of(path, *keys) == f"{path}{line}"


def test_other_files_have_no_line(tmp_path: Path) -> None:
    assert place_of(tmp_path / "missing", "source") == str(tmp_path / "missing")
    (tmp_path / "a.json").write_text('{"conversion": "source = 1",\nsource = 1}')
    assert place_of(tmp_path / "a.json", "source") == str(tmp_path / "a.json")
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert place_of(tmp_path / "bytes", "source") == str(tmp_path / "bytes")
