from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt import CheckpointError
from adaptrt.checkpoint import config_literals
from adaptrt_mmdet.registered import HINT, registered_values


def read_literals(text: str) -> dict[str, Any]:
    return config_literals(text, HINT)


def test_a_whole_config_reads_as_mmengine_writes_it() -> None:
    from mmengine.config import Config

    from adaptrt_mmdet.configs import find_config

    config = Config.fromfile(find_config("detr_r50_8xb2-150e_coco"))
    values = read_literals(config.pretty_text)
    assert Config(values).to_dict() == config.to_dict()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}_x", fullmatch=True), values, max_size=4))
def test_literals_come_back(config: dict[str, Any]) -> None:
    assert read_literals("\n".join(f"{name} = {value!r}" for name, value in config.items())) == config


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_literals(text)
    except CheckpointError as error:
        assert error.hint


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "from os import system",
        "model = __import__('os').system('true')",
        "model = dict(type=print('x'))",
        "model = dict(**other)",
        "model = {**other}",
        "model = [x for x in range(9)]",
        "model = f'{1}'",
        "model = lambda: 0",
        "model: dict = {}",
        "a = b = 1",
        "a.b = 1",
        "def f(): pass",
        "model = {[]: 1}",
        "model = set(())",
        "exec('1')",
    ],
)
def test_code_is_refused_with_its_line(code: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_literals("first = 1\n" + code)
    assert "line 2" in caught.value.message or "parsed" in caught.value.message


def test_custom_imports_are_refused_by_name() -> None:
    values = read_literals("custom_imports = dict(imports=['my_package.heads', 'other'], allow_failed_imports=False)")
    with pytest.raises(CheckpointError, match="The config imports my_package.heads, other"):
        registered_values(values)


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(CheckpointError):
        read_literals("a = " + "[" * 5000 + "]" * 5000)
