"""Profiles from the spec, and which shapes they allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.backends.tensorrt.build.profiles import choose_profile, fit_profiles, nearest_shape, profiles_of
from adaptrt.errors import BuildError, ShapeError
from adaptrt.specs import Dim, InputSpec, ModelSpec, parse_shape


def tensor(name: str, *shapes: str) -> InputSpec:
    return InputSpec(name, tuple(map(parse_shape, shapes)))


def test_one_profile_for_each_shape() -> None:
    profiles = profiles_of([tensor("images", "1..4@2x3x8x8", "8..16x3x8x8"), tensor("scale", "1")])
    assert [profile.sizes("images")[1] for profile in profiles] == [(2, 3, 8, 8), (16, 3, 8, 8)]
    assert [profile.sizes("scale") for profile in profiles] == [((1,), (1,), (1,))] * 2
    assert str(profiles[0]) == "profile 0: images=1..4@2x3x8x8, scale=1"


def test_inputs_with_different_numbers_of_profiles() -> None:
    with pytest.raises(ShapeError, match="'b' has 3 profiles where another input has 2|has 2 profiles"):
        profiles_of([tensor("a", "1", "2"), tensor("b", "1", "2", "3")])


def test_the_tightest_profile_is_chosen() -> None:
    profiles = profiles_of([tensor("images", "1..16x3x8x8", "1..2x3x8x8", "4..8x3x8x8")])
    assert [choose_profile(profiles, {"images": (size, 3, 8, 8)}).index for size in (1, 2, 3, 4, 9)] == [1, 1, 0, 2, 0]


def test_an_error_names_the_profile_and_the_nearest_shape() -> None:
    profiles = profiles_of([tensor("images", "1..4x3x320..640@640x320..640@640", "8..16x3x640x640")])
    with pytest.raises(ShapeError) as caught:
        choose_profile(profiles, {"images": (5, 3, 700, 640)})
    assert caught.value.message == (
        "Input 'images': 5x3x700x640 is outside every profile of this engine "
        "(profile 0: 1..4@4x3x320..640@640x320..640@640; profile 1: 8..16@16x3x640x640)."
    )
    assert "The nearest legal shape is 4x3x640x640, in profile 0" in str(caught.value.hint)


def test_another_number_of_axes() -> None:
    with pytest.raises(ShapeError, match="has 3 axes, the engine takes 1..4@4x3x8x8"):
        choose_profile(profiles_of([tensor("images", "1..4x3x8x8")]), {"images": (3, 8, 8)})


def test_inputs_that_only_fit_different_profiles() -> None:
    profiles = profiles_of([tensor("a", "1", "2"), tensor("b", "1", "2")])
    with pytest.raises(ShapeError, match="No single profile allows a=1, b=2 together"):
        choose_profile(profiles, {"a": (1,), "b": (2,)})


def test_profiles_against_the_parsed_network() -> None:
    spec = ModelSpec((tensor("images", "1..4x3x8x8"),))
    assert len(fit_profiles(spec, {"images": (-1, 3, 8, 8)})) == 1
    with pytest.raises(ShapeError, match="axis 0 is fixed at 2 in the graph, not 1..4@4") as caught:
        fit_profiles(spec, {"images": (2, 3, 8, 8)})
    assert "Use images=2x3x8x8" in str(caught.value.hint)
    with pytest.raises(ShapeError, match="axis 2 is fixed at 16"):
        fit_profiles(spec, {"images": (-1, 3, 16, 8)})
    with pytest.raises(ShapeError, match="has 4 axes, the graph has 2"):
        fit_profiles(spec, {"images": (-1, 3)})
    with pytest.raises(BuildError, match="an input 'mask' that no shape is known for") as unknown:
        fit_profiles(spec, {"images": (-1, 3, 8, 8), "mask": (-1, 8)})
    assert "--shape mask=1x8" in str(unknown.value.hint)


def test_an_input_that_the_graph_dropped_is_left_out() -> None:
    spec = ModelSpec((tensor("images", "1..4x3x8x8"), tensor("unused", "1..4")))
    assert list(fit_profiles(spec, {"images": (-1, 3, 8, 8)})[0].shapes) == ["images"]


dims = st.tuples(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50)).map(
    lambda sizes: Dim(sizes[0], sizes[0] + sizes[1], sizes[0] + sizes[1] + sizes[2])
)


@given(st.lists(st.tuples(dims, st.integers(0, 200)), min_size=1, max_size=5))
def test_the_nearest_shape_is_legal_and_near(axes: list[tuple[Dim, int]]) -> None:
    shape, sizes = tuple(dim for dim, _ in axes), tuple(size for _, size in axes)
    legal = nearest_shape(shape, sizes)
    profiles = profiles_of([InputSpec("x", (shape,))])
    assert choose_profile(profiles, {"x": legal}).index == 0
    for dim, size, chosen in zip(shape, sizes, legal, strict=True):
        assert abs(chosen - size) == min(abs(other - size) for other in range(dim.min, dim.max + 1))
