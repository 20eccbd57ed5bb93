"""The shape language: every spelling, every error, and text that nobody meant."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.errors import AdaptrtError, ShapeError, UsageError
from adaptrt.specs import (
    Dim,
    Shape,
    format_shape,
    parse_batch,
    parse_dynamic,
    parse_imgsz,
    parse_min_opt_max,
    parse_shape,
    parse_shapes,
    parse_workspace,
    union,
)

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)


@st.composite
def dims(draw: st.DrawFn) -> Dim:
    low, opt, high = sorted(draw(st.lists(st.integers(1, 999_999_999), min_size=3, max_size=3)))
    return Dim(low, opt, high, draw(names) if low != high and draw(st.booleans()) else None)


shapes = st.lists(dims(), min_size=1, max_size=6).map(tuple)
# text near the language finds more than text from anywhere
near = st.text(st.sampled_from("0123456789x.,:@=[] abN-_\n\u00b2\u0663"), max_size=24)
texts = st.one_of(near, st.text(max_size=24))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1x3x640x640", (Dim.fixed(1), Dim.fixed(3), Dim.fixed(640), Dim.fixed(640))),
        ("1..16@8x3", (Dim(1, 8, 16), Dim.fixed(3))),
        ("1..16x3", (Dim(1, 16, 16), Dim.fixed(3))),
        ("B:1..8x4", (Dim(1, 8, 8, "B"), Dim.fixed(4))),
        ("[1, 3, 8..8]", (Dim.fixed(1), Dim.fixed(3), Dim.fixed(8))),
        ("  7 ", (Dim.fixed(7),)),
    ],
)
def test_shapes_that_can_be_read(text: str, expected: Shape) -> None:
    assert parse_shape(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read ''"),
        ("1x", "cannot read ''"),
        ("1xx3", "cannot read 'x3'"),
        ("axb", "cannot read 'axb'"),
        ("1;3", "cannot read ';3'"),
        ("0x3", "got 0"),
        ("8..1", "not in ascending order"),
        ("1..4@9", "not in ascending order"),
        ("-1x3", "cannot read '-1x3'"),
        ("1..16@x3", "cannot read '@x3'"),
    ],
)
def test_shapes_that_cannot(text: str, message: str) -> None:
    with pytest.raises(ShapeError, match=f"Shape {text!r}".replace("[", r"\[")) as caught:
        parse_shape(text)
    assert message in caught.value.message
    assert caught.value.hint


@given(shapes)
def test_a_formatted_shape_reads_back(shape: Shape) -> None:
    assert parse_shape(format_shape(shape)) == shape


@given(st.dictionaries(names, st.lists(shapes, min_size=1, max_size=2), max_size=3))
def test_repeating_an_input_adds_a_profile(wanted: dict[str, list[Shape]]) -> None:
    texts = [f"{name}={format_shape(shape)}" for name, profiles in wanted.items() for shape in profiles]
    assert parse_shapes(texts) == {name: tuple(profiles) for name, profiles in wanted.items()}


@pytest.mark.parametrize("text", ["1x3", "=1x3", " =1x3"])
def test_a_shape_names_its_input(text: str) -> None:
    with pytest.raises(ShapeError, match="does not name its input"):
        parse_shapes([text])


def test_min_opt_max() -> None:
    assert parse_min_opt_max(["a:1x3"], ["a:2x3"], ["a:4x3"]) == {"a": ((Dim(1, 2, 4), Dim.fixed(3)),)}
    two = parse_min_opt_max(["a:1", "b:1", "a:5"], ["a:2", "a:5", "b:1"], ["a:4", "a:9", "b:1"])
    assert two == {"a": ((Dim(1, 2, 4),), (Dim(5, 5, 9),)), "b": ((Dim.fixed(1),),)}


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((["a:1"], [], ["a:4"]), Dim(1, 4, 4)),
        (([], ["a:2"], ["a:4"]), Dim(2, 2, 4)),
        (([], ["a:2"], []), Dim.fixed(2)),
        ((["a:1"], ["a:2"], []), Dim(1, 2, 2)),
    ],
)
def test_a_missing_side_takes_the_nearest(sides: tuple[list[str], ...], expected: Dim) -> None:
    assert parse_min_opt_max(*sides) == {"a": ((expected,),)}


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((["a:1", "a:2"], ["a:1"], []), "2 --min-shape, 1 --opt-shape, 0 --max-shape"),
        ((["a:1x3"], ["a:1"], []), "number of axes"),
        ((["a:1..2"], [], []), "contains a range"),
        ((["1x3"], [], []), "does not name"),
        ((["a:4"], [], ["a:1"]), "not in ascending order"),
        (([":4"], [], []), "does not name"),
    ],
)
def test_min_opt_max_errors(sides: tuple[list[str], ...], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        parse_min_opt_max(*sides)
    assert message in caught.value.message


def test_a_profile_out_of_order_names_its_input() -> None:
    with pytest.raises(ShapeError, match="Input 'a'"):
        parse_min_opt_max(["a:4"], [], ["a:1"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", Dim(4, 4, 4, "batch")),
        ("1:16", Dim(1, 16, 16, "batch")),
        ("1:8:16", Dim(1, 8, 16, "batch")),
        (" 1 : 2 ", Dim(1, 2, 2, "batch")),
        ("1..16@8", Dim(1, 8, 16, "batch")),
    ],
)
def test_batches(text: str, expected: Dim) -> None:
    assert parse_batch(text) == expected


@pytest.mark.parametrize("text", ["0", "", "x", "1:2:3:4", "8:1", "1:9:4", "1..4x3", "-1", "1.5"])
def test_batches_that_cannot_be(text: str) -> None:
    with pytest.raises(ShapeError, match=f"Batch {text!r}") as caught:
        parse_batch(text)
    assert caught.value.hint


def test_image_sizes() -> None:
    assert parse_imgsz("640") == (640, 640)
    assert parse_imgsz("800x1216") == (800, 1216)
    assert parse_imgsz(" 800 , 1216 ") == (800, 1216)


@pytest.mark.parametrize("text", ["", "0", "640x0", "1x2x3", "640px", "-640", "640x"])
def test_image_sizes_that_cannot_be(text: str) -> None:
    with pytest.raises(ShapeError, match="Image size"):
        parse_imgsz(text)


def test_dynamic_axes() -> None:
    assert parse_dynamic("batch") == {"batch"}
    assert parse_dynamic("batch, hw") == {"batch", "hw"}
    assert parse_dynamic("none") == frozenset()
    for text in ("", ",", "width", "batch,w"):
        with pytest.raises(ShapeError, match="Use batch, hw"):
            parse_dynamic(text)


def test_none_excludes_the_others() -> None:
    with pytest.raises(ShapeError):
        parse_dynamic("none,batch")


@given(texts)
@pytest.mark.parametrize("parse", [parse_shape, parse_batch, parse_imgsz, parse_dynamic])
def test_any_text_is_read_or_refused(parse: Callable[[str], Any], text: str) -> None:
    try:
        parse(text)
    except ShapeError as error:
        assert "\n" not in error.message.replace(repr(text), "")


@given(st.lists(texts, max_size=3))
def test_any_list_of_texts_is_read_or_refused(given_texts: list[str]) -> None:
    for parse in (
        parse_shapes,
        lambda one: parse_min_opt_max(one, one, ()),
        lambda one: parse_min_opt_max((), (), one),
    ):
        try:
            parse(given_texts)
        except ShapeError:
            pass


@pytest.mark.parametrize(
    ("text", "size"), [("4", 4 << 30), ("4G", 4 << 30), ("512M", 512 << 20), ("1.5GiB", 3 << 29), ("64 kb", 64 << 10)]
)
def test_workspaces(text: str, size: int) -> None:
    assert parse_workspace(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "4X", "1e9", "9" * 400, "0.0001k"])
def test_workspaces_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="--workspace") as caught:
        parse_workspace(text)
    assert len(caught.value.message) < 600


@given(st.one_of(texts, st.from_regex(r"\d{1,400}(\.\d+)?[kKmMgGtT]?i?[bB]?", fullmatch=True)))
def test_any_workspace_is_read_or_refused(text: str) -> None:
    try:
        assert parse_workspace(text) >= 1
    except AdaptrtError as error:
        assert isinstance(error, UsageError)


@given(dims())
def test_an_axis_contains_its_sizes(dim: Dim) -> None:
    assert all(size in dim for size in (dim.min, dim.opt, dim.max))
    assert dim.min - 1 not in dim
    assert dim.max + 1 not in dim
    assert dim.dynamic == (dim.min < dim.max)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (-1, 1, 1), (2, 1, 3), (1, 4, 3)])
def test_axes_that_cannot_be(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ShapeError) as caught:
        Dim(*sizes)
    assert caught.value.hint


@given(st.lists(st.lists(dims(), min_size=3, max_size=3).map(tuple), min_size=1, max_size=4))
def test_a_union_covers_every_profile(profiles: list[Shape]) -> None:
    covering = union(profiles)
    for shape in profiles:
        for axis, cover in zip(shape, covering, strict=True):
            assert axis.min in cover
            assert axis.max in cover
    assert [axis.opt for axis in covering] == [axis.opt for axis in profiles[0]]


def test_a_union_needs_equal_ranks() -> None:
    with pytest.raises(ShapeError, match="number of axes: 1, 1x2"):
        union([parse_shape("1"), parse_shape("1x2")])
