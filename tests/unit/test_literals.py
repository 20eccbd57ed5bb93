from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.literals import MAX_CHARACTERS, NotLiteralError, evaluate, literal_value

LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.none(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(LITERALS)
def test_what_repr_writes_is_read(value: Any) -> None:
    if not (isinstance(value, float) and value == float("inf")):  # a word, which is text
        assert literal_value(repr(value)) == value


@given(st.text(max_size=100))
def test_other_text_is_a_value_error(text: str) -> None:
    try:
        literal_value(text)
    except ValueError:
        pass


@pytest.mark.parametrize("text", ["nan", "inf", "yolo", "f()", "1 + 1", "a.b", "", "[" * 5000, "'" * 3, "f'{1}'"])
def test_code_and_words_are_not_literals(text: str) -> None:
    with pytest.raises(ValueError):
        literal_value(text)


def test_a_literal_has_a_bounded_length() -> None:
    with pytest.raises(ValueError, match="longer than"):
        literal_value("1" + " " * MAX_CHARACTERS)


def test_lenient_omits_the_entries_of_a_dict_that_are_code() -> None:
    node = ast.parse("dict(a=1, b=f(), c={'d': g, 'e': -inf, **h}, **more)", mode="eval").body
    assert evaluate(node, lenient=True) == {"a": 1, "c": {"e": float("-inf")}}
    with pytest.raises(NotLiteralError):
        evaluate(node)
