"""``--set key=value`` onto dataclasses."""

from dataclasses import dataclass, field, make_dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.errors import UsageError
from adaptrt.options import fill_options, option_names, parse_pairs, takes_option


@dataclass(frozen=True)
class Options:
    conf: float = 0.25
    top_k: int = 5
    agnostic: bool = False
    name: str = "net"
    classes: tuple[int | str, ...] | None = None
    sizes: list[int] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    mode: Literal["fast", "exact"] = "fast"
    nms: float | None = None


@dataclass(frozen=True)
class Required:
    entry: str
    classes: int = 80


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("conf", "0.4", 0.4),
        ("conf", "1", 1.0),
        ("top_k", "3", 3),
        ("agnostic", "true", True),
        ("agnostic", "0", False),
        ("name", "0.4", "0.4"),
        ("name", "", ""),
        ("classes", "0", ("0",)),
        ("classes", "0,2", ("0", "2")),
        ("classes", "[0, 2]", (0, 2)),
        ("classes", "circle", ("circle",)),
        ("classes", "circle, star", ("circle", "star")),
        ("classes", "null", None),
        ("sizes", "640", [640]),
        ("sizes", "640,320", [640, 320]),
        ("sizes", "[]", []),
        ("kwargs", '{"classes": 3}', {"classes": 3}),
        ("mode", "exact", "exact"),
        ("nms", "0.7", 0.7),
        ("nms", "null", None),
    ],
)
def test_text_becomes_the_type_of_the_field(key: str, text: str, value: object) -> None:
    filled = fill_options(Options, parse_pairs([f"{key}={text}"]))
    assert getattr(filled, key) == value
    assert type(getattr(filled, key)) is type(value)


def test_values_that_have_a_type_already() -> None:
    filled = fill_options(Options, {"conf": 1, "classes": [1, "star"], "kwargs": {"a": {"b": 1}}, "agnostic": True})
    assert filled == Options(conf=1.0, classes=(1, "star"), kwargs={"a": {"b": 1}}, agnostic=True)


def test_a_dotted_key_fills_a_dict() -> None:
    filled = fill_options(Options, parse_pairs(["kwargs.depth=3", "kwargs.head.type=detr", "conf=0.1"]))
    assert filled == Options(conf=0.1, kwargs={"depth": 3, "head.type": "detr"})
    both = fill_options(Options, parse_pairs(["kwargs.depth=3", 'kwargs={"width": 2}']))
    assert both.kwargs == {"width": 2, "depth": 3}


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("0.5", 0.5), ("true", True), ("null", None), ("[1]", [1]), ("a", "a"), ('"3"', "3")]
)
def test_values_in_a_dict_are_what_they_look_like(text: str, value: object) -> None:
    assert fill_options(Options, parse_pairs([f"kwargs.key={text}"])).kwargs == {"key": value}


def test_pairs() -> None:
    assert parse_pairs(["a=1", " b = x=y ", "a=2", "c="]) == {"a": "2", "b": "x=y", "c": ""}
    for pair in ("conf", "=1", " =1", ""):
        with pytest.raises(UsageError, match="key=value") as caught:
            parse_pairs([pair])
        assert caught.value.hint == "For example: --set conf=0.4"


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("conf", "high", "float"),
        ("top_k", "1.5", "int"),
        ("agnostic", "maybe", "bool"),
        ("sizes", "a,b", "int"),
        ("kwargs", "depth", "JSON"),
        ("kwargs", "[1]", "object"),
        ("mode", "quick", "quick"),
        ("nms", "x", "float"),
    ],
)
def test_text_that_does_not_fit_names_option_and_type(key: str, text: str, wanted: str) -> None:
    with pytest.raises(UsageError) as caught:
        fill_options(Options, {key: text})
    assert key in caught.value.message
    assert wanted in str(caught.value)
    assert "<class" not in str(caught.value)


def test_unknown_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Unknown option 'cofn'") as caught:
        fill_options(Options, {"cofn": "1"})
    assert caught.value.hint == "Did you mean 'conf'?"
    with pytest.raises(UsageError, match="Unknown option 'conf.x'"):
        fill_options(Options, {"conf.x": "1"})


def test_what_is_required_is_asked_for() -> None:
    assert fill_options(Required, {"entry": "a:b"}) == Required("a:b")
    with pytest.raises(UsageError) as caught:
        fill_options(Required, {})
    assert caught.value.hint == "Set them: --set entry=..."


def test_names() -> None:
    assert option_names(Required) == ["entry", "classes"]
    assert takes_option(Options, "conf")
    assert takes_option(Options, "kwargs.a.b")
    assert not takes_option(Options, "conf.a")
    assert not takes_option(Options, "other")


values = st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.none(), st.lists(st.integers(), max_size=2))


@given(st.dictionaries(st.one_of(st.sampled_from(option_names(Options)), st.text(max_size=8)), values, max_size=4))
def test_any_values_are_taken_or_refused(given_values: dict[str, Any]) -> None:
    try:
        assert isinstance(fill_options(Options, given_values), Options)
    except UsageError as error:
        assert error.message


@given(st.floats(allow_nan=False), st.integers(), st.booleans(), st.text())
def test_values_survive_being_text(conf: float, top_k: int, agnostic: bool, name: str) -> None:
    pairs = [f"conf={conf!r}", f"top_k={top_k}", f"agnostic={str(agnostic).lower()}", f"name={name}"]
    wanted = Options(conf=conf, top_k=top_k, agnostic=agnostic, name=name.strip())
    if -(2**63) <= top_k < 2**64:
        assert fill_options(Options, parse_pairs(pairs)) == wanted


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Literal["letterbox", "stretch", "crop"], "Expected: one of letterbox, stretch, crop"),
        (Literal["fast", "exact"], "Expected: fast or exact"),
        (Literal["fast", "exact"] | None, "Expected: fast or exact"),
        (float | None, r"Expected: float \| None"),
    ],
)
def test_the_values_of_an_option_are_listed_as_they_are_written(wanted: Any, message: str) -> None:
    options = make_dataclass("Options", [("mode", wanted, field(default=None))], frozen=True)
    with pytest.raises(UsageError, match=f"{message}$"):
        fill_options(options, {"mode": "best"})
