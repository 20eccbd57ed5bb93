"""Specs as data: what goes into a file comes back, and what is no spec is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.errors import ModelError, PluginError, ShapeError
from adaptrt.specs import (
    DecoderSpec,
    Dim,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    Tolerance,
)

name = st.text(min_size=1, max_size=8)
number = st.floats(allow_nan=False, allow_infinity=False)
limit = st.floats(0, allow_nan=False, allow_infinity=False)
sizes = st.lists(st.integers(1, 10**6), min_size=3, max_size=3).map(sorted)
dims = st.builds(lambda found, label: Dim(*found, label), sizes, st.none() | name)
tolerance = st.builds(Tolerance, limit, limit, st.text(max_size=8))
group = st.builds(
    OutputGroup,
    name,
    st.sampled_from(["pixels", "scores", "logits", "values"]),
    st.none() | st.integers(-3, 3),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
    st.none() | st.dictionaries(st.sampled_from(["fp32", "fp16"]), tolerance),
)
triple = st.tuples(number, number, number)
image = st.builds(
    ImageTransform,
    input=name,
    resize=st.sampled_from(["letterbox", "stretch", "crop"]),
    interpolation=st.sampled_from(["nearest", "linear", "cubic", "area"]),
    library=st.sampled_from(["cv2", "pil"]),
    colors=st.sampled_from(["rgb", "bgr"]),
    scale=number,
    mean=triple,
    std=st.tuples(*[number.filter(bool)] * 3),
    pad=st.integers(0, 255),
    center=st.booleans(),
    crop_fraction=st.floats(0, 1, exclude_min=True),
    stride=st.integers(1, 64),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | number | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(name, inner, max_size=2),
    max_leaves=4,
)
pixels = [Dim(1, 2, 4), Dim.fixed(3), Dim(32, 64, 96), Dim.fixed(64)]


def made(inputs: tuple[InputSpec, ...], image: ImageTransform | None, **others: Any) -> ModelSpec:
    """A spec whose image, if there is one, has its input."""
    taken = (InputSpec(image.input, (tuple(pixels),)),) if image is not None else ()
    return ModelSpec(inputs=taken + inputs, image=image, **others)


specs = st.builds(
    made,
    inputs=st.lists(
        st.builds(lambda label, shape, dtype: InputSpec(label, (tuple(shape),), dtype), name, st.lists(dims), name),
        min_size=1,
        max_size=2,
    ).map(tuple),
    outputs=st.lists(
        st.builds(OutputSpec, name, st.lists(st.integers(1, 99) | name).map(tuple), name, st.tuples(group)), max_size=2
    ).map(tuple),
    task=st.sampled_from(["detect", "classify", "values"]),
    image=st.none() | image,
    decoder=st.none() | st.builds(DecoderSpec, name, st.dictionaries(name, json_values, max_size=2)),
    labels=st.lists(name, max_size=3).map(tuple),
    metadata=st.dictionaries(name, name, max_size=2),
    adapter=st.none() | name,
)


@given(specs)
def test_json_gives_the_same_spec(spec: ModelSpec) -> None:
    text = spec.to_json()
    assert ModelSpec.from_json(text) == spec
    assert ModelSpec.from_json(text.encode()) == spec
    assert json.loads(text)["version"] == ModelSpec.version


@given(st.one_of(st.text(), st.binary(), json_values.map(json.dumps)))
def test_what_is_no_spec_is_refused(text: str | bytes) -> None:
    with pytest.raises(ModelError, match="spec in this file") as caught:
        ModelSpec.from_json(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", [b'{"\xff": 1}', b'{"labels": ["\xff"]}', "[" * 100_000, '{"inputs": ' * 5000])
def test_what_breaks_parsers_is_refused(text: str | bytes) -> None:
    with pytest.raises(ModelError, match="spec in this file"):
        ModelSpec.from_json(text)


SPEC = ModelSpec((InputSpec.image(64, 64),), decoder=DecoderSpec("yolo", {"conf": 0.25}), labels=("a",))


@given(st.data())
def test_a_spec_with_one_wrong_value_is_read_or_refused(data: st.DataObject) -> None:
    raw: Any = json.loads(SPEC.to_json())
    node = raw
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], (dict, list)) and node[key] and data.draw(st.booleans()):
            node = node[key]
            continue
        node[key] = data.draw(json_values)
        break
    try:
        assert isinstance(ModelSpec.from_json(json.dumps(raw)), ModelSpec)
    except ModelError:
        pass


def test_a_spec_of_a_later_version_asks_for_an_update() -> None:
    later = json.loads(SPEC.to_json()) | {"version": ModelSpec.version + 1, "something": "new"}
    with pytest.raises(ModelError, match="version") as caught:
        ModelSpec.from_json(json.dumps(later))
    assert caught.value.hint == "Update: pip install -U adaptrt"


def test_a_later_version_may_have_changed_types() -> None:
    later = json.loads(SPEC.to_json()) | {"version": ModelSpec.version + 1, "labels": {"0": "a"}}
    with pytest.raises(ModelError, match="version") as caught:
        ModelSpec.from_json(json.dumps(later))
    assert caught.value.hint == "Update: pip install -U adaptrt"


def test_names_of_tensors() -> None:
    assert SPEC.input("images").name == "images"
    with pytest.raises(ModelError, match="Unknown input 'image'") as caught:
        SPEC.input("image")
    assert caught.value.hint == "Did you mean 'images'?"
    with pytest.raises(ModelError, match="Unknown output 'x'"):
        SPEC.output("x")


def test_the_size_of_the_image() -> None:
    with_image = ModelSpec((InputSpec.image(48, 64),), image=ImageTransform())
    assert with_image.image_size == (48, 64)
    assert not with_image.dynamic_size
    with pytest.raises(ModelError, match="has no image input") as caught:
        _ = SPEC.image_size
    assert "adaptrt run" in (caught.value.hint or "")


def test_decoder_parameters() -> None:
    assert SPEC.with_decoder_params(conf=0.4).decoder == DecoderSpec("yolo", {"conf": 0.4})
    assert SPEC.decoder == DecoderSpec("yolo", {"conf": 0.25})
    assert ModelSpec(SPEC.inputs).with_decoder_params(x=1).decoder == DecoderSpec("raw", {"x": 1})


def test_inputs_need_a_shape_and_profiles_of_equal_rank() -> None:
    with pytest.raises(ShapeError, match="'a' has no shape"):
        InputSpec("a", ())
    with pytest.raises(ShapeError, match="number of axes"):
        InputSpec("a", ((Dim.fixed(1),), (Dim.fixed(1), Dim.fixed(2))))


def test_axes_have_names() -> None:
    tensor = InputSpec("a", ((Dim(1, 2, 3, "batch"), Dim(4, 4, 8), Dim.fixed(3)),))
    assert [tensor.axis_name(axis) for axis in range(3)] == ["batch", "a_1", "a_2"]


def image_spec(*axes: int, **image: Any) -> str:
    shape = [{"min": size, "opt": size, "max": size} for size in axes]
    return json.dumps({"inputs": [{"name": "x", "profiles": [shape]}], "image": {"input": "x", **image}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (image_spec(1, 3), "with 4 axes"),
        (image_spec(1, 3, 32, 32, input="y"), "must be an input of the spec"),
        (image_spec(1, 3, 2**31, 2**31), "too large"),
        (image_spec(1, 3, 32, 32, stride=0), "stride must be at least 1"),
        (image_spec(1, 3, 32, 32, crop_fraction=0), "crop_fraction must be in"),
        (image_spec(1, 3, 32, 32, std=[0, 1, 1]), "std must not be 0"),
        (image_spec(1, 3, 32, 32, pad=999), "pad must be a pixel value"),
    ],
)
def test_an_image_that_cannot_be_made_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(
    "limits", [(float("nan"),), (float("inf"),), (-1.0,), (0.0, float("nan")), (0.0, float("inf"))]
)
def test_a_tolerance_that_accepts_anything_is_an_error(limits: tuple[float, ...]) -> None:
    with pytest.raises(PluginError, match="must be finite"):
        Tolerance(*limits)


@pytest.mark.parametrize(
    ("transform", "problem"),
    [
        (ImageTransform(mean=(0.485, 0.456, 0.406)), ""),
        (ImageTransform(mean=(1.0, 0.0, 0.5)), ""),
        (ImageTransform(mean=(123.675, 116.28, 103.53), scale=1), ""),
        (ImageTransform(mean=(-1.0, 0.0, 0.0), scale=-1 / 127.5), ""),
        (ImageTransform(mean=(123.675, 116.28, 103.53)), "mean 123.675 is outside the range of images, which is 0 to 1 after"),
        (ImageTransform(mean=(0.5, -0.5, 0.5)), "mean -0.5 is outside"),
    ],
)  # fmt: skip
def test_a_mean_in_pixel_values_with_the_default_scale(transform: ImageTransform, problem: str) -> None:
    assert problem in transform.implausible
    assert bool(problem) == bool(transform.implausible)
