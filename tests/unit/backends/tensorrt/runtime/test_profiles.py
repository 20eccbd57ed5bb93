"""The tightest profile, and the nearest legal shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.backends.tensorrt.runtime.profiles import ShapeRange, choose_profile
from adaptrt.errors import ShapeError


def profile(low, opt, high, name="images"):
    return {name: ShapeRange(low, opt, high)}


def test_the_smallest_maximum_wins():
    wide = profile((1, 3, 32, 32), (8, 3, 640, 640), (32, 3, 1280, 1280))
    narrow = profile((1, 3, 640, 640), (1, 3, 640, 640), (1, 3, 640, 640))
    assert choose_profile([wide, narrow], {"images": (1, 3, 640, 640)}) == 1
    assert choose_profile([wide, narrow], {"images": (2, 3, 640, 640)}) == 0


def test_of_equal_maxima_the_nearest_opt_wins():
    low = profile((1, 3), (1, 3), (8, 3))
    high = profile((1, 3), (8, 3), (8, 3))
    assert choose_profile([low, high], {"images": (7, 3)}) == 1
    assert choose_profile([low, high], {"images": (2, 3)}) == 0


def test_every_input_has_to_fit():
    first = {"a": ShapeRange((1,), (1,), (4,)), "b": ShapeRange((1,), (1,), (4,))}
    second = {"a": ShapeRange((1,), (1,), (8,)), "b": ShapeRange((1,), (1,), (8,))}
    assert choose_profile([first, second], {"a": (2,), "b": (8,)}) == 1


def test_the_nearest_shape_comes_from_the_nearest_profile():
    small = profile((1, 3, 320, 320), (1, 3, 320, 320), (4, 3, 320, 320))
    large = profile((1, 3, 640, 640), (1, 3, 640, 640), (4, 3, 640, 640))
    with pytest.raises(ShapeError) as caught:
        choose_profile([small, large], {"images": (5, 3, 600, 640)})
    assert "nearest supported shape is images 4x3x640x640" in caught.value.message
    assert "1..4x3x320x320 or 1..4x3x640x640" in caught.value.hint


ranges = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=4)


@given(ranges, st.data())
def test_the_shape_named_is_legal(axes, data):
    low = tuple(axis[0] for axis in axes)
    opt = tuple(axis[0] + axis[1] for axis in axes)
    high = tuple(axis[0] + axis[1] + axis[2] for axis in axes)
    allowed = ShapeRange(low, opt, high)
    shape = tuple(data.draw(st.integers(0, 200)) for _ in axes)
    nearest = allowed.nearest(shape)
    assert nearest in allowed
    assert (nearest == shape) == (shape in allowed)
    if shape in allowed:
        assert choose_profile([{"x": allowed}], {"x": shape}) == 0
    else:
        with pytest.raises(ShapeError, match="x".join(map(str, nearest))):
            choose_profile([{"x": allowed}], {"x": shape})
