"""Ultralytics' header before a plan: off and on again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptrt.backends.tensorrt.header import header_of, read_header, unwrap, wrap
from adaptrt.errors import EngineError
from adaptrt.specs import InputSpec, ModelSpec

PLAN = b"ptrt\x00\x00\x00" + bytes(range(256))
METADATA = {"stride": "32", "names": "{0: 'helmet', 1: 'vest'}", "imgsz": "[640, 640]", "task": "detect"}


def test_off_and_on_again(tmp_path: Path) -> None:
    wrapped, plain, again = (tmp_path / name for name in ("w.engine", "p.engine", "a.engine"))
    header = {"stride": 32, "names": {"0": "person"}}
    text = json.dumps(header).encode()
    wrapped.write_bytes(len(text).to_bytes(4, "little") + text + PLAN)
    assert unwrap(wrapped, plain) == header
    assert plain.read_bytes() == PLAN
    wrap(plain, again, header)
    assert again.read_bytes() == wrapped.read_bytes()


def test_plain_plans_have_none(tmp_path: Path) -> None:
    (tmp_path / "p.engine").write_bytes(PLAN)
    assert read_header(tmp_path / "p.engine") == (None, 0)
    with pytest.raises(EngineError, match="has no Ultralytics header"):
        unwrap(tmp_path / "p.engine", tmp_path / "x.engine")
    assert not (tmp_path / "x.engine").exists()


def test_no_second_header(tmp_path: Path) -> None:
    (tmp_path / "p.engine").write_bytes(PLAN)
    wrap(tmp_path / "p.engine", tmp_path / "w.engine", {"a": 1})
    with pytest.raises(EngineError, match="already has an Ultralytics header"):
        wrap(tmp_path / "w.engine", tmp_path / "x.engine", {"a": 1})


def test_the_header_comes_from_the_spec() -> None:
    header = header_of(ModelSpec((InputSpec.image(640, 640),), metadata=METADATA))
    assert header == {"stride": 32, "names": {"0": "helmet", "1": "vest"}, "imgsz": [640, 640], "task": "detect"}
    with pytest.raises(EngineError, match="no Ultralytics metadata"):
        header_of(ModelSpec((InputSpec.image(640, 640),)))


@pytest.mark.parametrize("text", ["...", "{1, 2}", "b'x'", "{'a': {(1,): 2}}", "two words"])
def test_what_json_does_not_have_stays_text(text: str) -> None:
    header = header_of(ModelSpec((InputSpec.image(640, 640),), metadata={**METADATA, "description": text}))
    assert json.loads(json.dumps(header))["description"] == text


def test_ultralytics_reads_it(tmp_path: Path) -> None:
    backend = pytest.importorskip("ultralytics.nn.backends.tensorrt", reason="Ultralytics' own reader").TensorRTBackend
    (tmp_path / "p.engine").write_bytes(PLAN)
    wrap(
        tmp_path / "p.engine", tmp_path / "w.engine", header_of(ModelSpec((InputSpec.image(8, 8),), metadata=METADATA))
    )
    start, header = backend.engine_header(tmp_path / "w.engine")
    assert (tmp_path / "w.engine").read_bytes()[start:] == PLAN
    assert header["names"] == {"0": "helmet", "1": "vest"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.engine").write_bytes(data)
    header, start = read_header(tmp_path / "x.engine")
    assert (header is None) == (start == 0)
