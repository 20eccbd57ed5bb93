"""Profiles from the spec."""

from __future__ import annotations

import pytest

from adaptrt.backends.tensorrt.build.profiles import fit_profiles, profiles_of
from adaptrt.errors import BuildError, ShapeError
from adaptrt.specs import InputSpec, ModelSpec, parse_shape


def tensor(name: str, *shapes: str) -> InputSpec:
    return InputSpec(name, tuple(map(parse_shape, shapes)))


def test_one_profile_for_each_shape() -> None:
    profiles = profiles_of([tensor("images", "1..4@2x3x8x8", "8..16x3x8x8"), tensor("scale", "1")])
    assert [profile.sizes("images")[1] for profile in profiles] == [(2, 3, 8, 8), (16, 3, 8, 8)]
    assert [profile.sizes("scale") for profile in profiles] == [((1,), (1,), (1,))] * 2


def test_inputs_with_different_numbers_of_profiles() -> None:
    with pytest.raises(ShapeError, match="'b' has 3 profiles, but another input has 2|has 2 profiles"):
        profiles_of([tensor("a", "1", "2"), tensor("b", "1", "2", "3")])


def test_profiles_against_the_parsed_network() -> None:
    spec = ModelSpec((tensor("images", "1..4x3x8x8"),))
    assert len(fit_profiles(spec, {"images": (-1, 3, 8, 8)})) == 1
    with pytest.raises(ShapeError, match="axis 0 is fixed at 2 in the graph, not 1..4@4") as caught:
        fit_profiles(spec, {"images": (2, 3, 8, 8)})
    assert "Use images=2x3x8x8" in str(caught.value.hint)
    with pytest.raises(ShapeError, match="axis 2 is fixed at 16"):
        fit_profiles(spec, {"images": (-1, 3, 16, 8)})
    with pytest.raises(ShapeError, match="has 4 axes, but the graph has 2"):
        fit_profiles(spec, {"images": (-1, 3)})
    with pytest.raises(BuildError, match="The shape of graph input 'mask' is unknown") as unknown:
        fit_profiles(spec, {"images": (-1, 3, 8, 8), "mask": (-1, 8)})
    assert "--shape mask=1x8" in str(unknown.value.hint)


def test_an_input_that_the_graph_dropped_is_skipped() -> None:
    spec = ModelSpec((tensor("images", "1..4x3x8x8"), tensor("unused", "1..4")))
    assert list(fit_profiles(spec, {"images": (-1, 3, 8, 8)})[0].shapes) == ["images"]
