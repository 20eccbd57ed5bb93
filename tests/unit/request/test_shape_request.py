"""Shapes asked for, applied to the shapes an adapter declares."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt.errors import ShapeError, UsageError
from adaptrt.request import Request, ShapeRequest, nearest_shape
from adaptrt.specs import Dim, ImageTransform, InputSpec, ModelSpec, parse_shape, parse_shapes

SPEC = ModelSpec((InputSpec.image(640, 640),), image=ImageTransform(stride=32))
BATCH, THREE = Dim(1, 8, 16, "batch"), Dim.fixed(3)
TOKENS = InputSpec("tokens", ((BATCH, Dim(4, 16, 64, "length")),), dtype="int64")


def shape_of(request: ShapeRequest, spec: ModelSpec = SPEC, name: str = "images") -> str:
    return "x".join(map(str, request.apply(spec)[0].input(name).dims))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ShapeRequest(), "batch:1..16@8x3x640x640"),
        (ShapeRequest(imgsz=(320, 416)), "batch:1..16@8x3x320x416"),
        (ShapeRequest(batch=Dim.fixed(4)), "4x3x640x640"),
        (ShapeRequest(batch=Dim(1, 2, 3)), "batch:1..3@2x3x640x640"),
        (ShapeRequest(dynamic=frozenset()), "1x3x640x640"),
        (ShapeRequest(dynamic=frozenset(), batch=Dim.fixed(2)), "2x3x640x640"),
        (ShapeRequest(dynamic=frozenset({"batch"})), "batch:1..16@8x3x640x640"),
        (ShapeRequest(dynamic=frozenset({"hw"})), "1x3xheight:320..1280@640xwidth:320..1280@640"),
        (
            ShapeRequest(dynamic=frozenset({"batch", "hw"}), imgsz=(320, 416)),
            "batch:1..16@8x3xheight:160..640@320xwidth:224..832@416",
        ),
        (ShapeRequest(shapes=parse_shapes(["images=1..4@2x3x320x320"])), "batch:1..4@2x3x320x320"),
        (ShapeRequest(shapes=parse_shapes(["images=n:1..4x3x320x320"])), "n:1..4@4x3x320x320"),
        (
            ShapeRequest(shapes=parse_shapes(["images=1..2x3x64x64"]), imgsz=(64, 64), dynamic=frozenset({"batch"})),
            "batch:1..2@2x3x64x64",
        ),
    ],
)
def test_what_was_asked_for(request_: ShapeRequest, expected: str) -> None:
    assert shape_of(request_) == expected


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"imgsz": (320, 320)}, "--imgsz 320x320"),
        ({"batch": Dim.fixed(4)}, "--batch 4"),
        ({"dynamic": frozenset({"hw"})}, "--dynamic hw"),
        ({"dynamic": frozenset(), "imgsz": (64, 64)}, "--dynamic none"),
    ],
)
def test_a_complete_shape_that_conflicts_with_another_option(other: dict[str, Any], said: str) -> None:
    request = ShapeRequest(shapes=parse_shapes(["images=1..2x3x64x64"]), **other)
    with pytest.raises(ShapeError, match=f"{said} conflict") as caught:
        request.apply(SPEC)
    assert f"omit {said}" in (caught.value.hint or "")


def test_a_batch_beside_the_shape_of_another_input() -> None:
    spec = replace(SPEC, inputs=(*SPEC.inputs, TOKENS))
    request = ShapeRequest(shapes=parse_shapes(["tokens=1..4x8"]), batch=Dim(1, 4, 4), imgsz=(64, 64))
    assert shape_of(request, spec) == "batch:1..4@4x3x64x64"


def test_dynamic_size_of_an_adapter_becomes_fixed_when_other_axes_are_asked_for() -> None:
    dynamic, _ = ShapeRequest(dynamic=frozenset({"hw"})).apply(SPEC)
    assert shape_of(ShapeRequest(dynamic=frozenset({"batch"})), dynamic) == "batch:1..16@8x3x640x640"
    assert shape_of(ShapeRequest(imgsz=(320, 320)), dynamic) == "1x3x320x320"
    assert (
        shape_of(ShapeRequest(batch=Dim(1, 1, 8)), dynamic) == "batch:1..8@1x3xheight:320..1280@640xwidth:320..1280@640"
    )


def test_sizes_are_rounded_up_to_the_stride_with_a_warning() -> None:
    spec, warnings = ShapeRequest(imgsz=(641, 640)).apply(SPEC)
    assert spec.image_size == (672, 640)
    assert warnings == ["height 641 is not a multiple of the stride 32: rounded up to 672."]
    spec, warnings = ShapeRequest(imgsz=(416, 640), dynamic=frozenset({"hw"})).apply(SPEC)
    assert "x".join(map(str, spec.input("images").dims)) == "1x3xheight:224..832@416xwidth:320..1280@640"
    assert warnings == ["height 208..832@416 are not all multiples of the stride 32: rounded up to 224..832@416."]


@pytest.mark.parametrize(
    ("shape", "nearest"),
    [
        ("1x3x300..600@400x320", "--shape images=1x3x320..608@416x320"),
        ("1x3x400x320", "--shape images=1x3x416x320"),
        ("1..4x3x64..640x1..32", "--shape images=1..4@4x3x64..640@640x32"),
        ("1x3x320x320", ""),
    ],
)
def test_a_whole_shape_is_taken_as_it_is(shape: str, nearest: str) -> None:
    spec, warnings = ShapeRequest(shapes=parse_shapes([f"images={shape}"])).apply(SPEC)
    assert [axis.max for axis in spec.input("images").dims] == [
        axis.max for axis in parse_shapes([f"images={shape}"])["images"][0]
    ]
    assert warnings == []
    assert nearest_shape(spec) == nearest


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 8, 32, 64]), st.booleans())
def test_rounding_gives_the_next_multiple(height: int, width: int, stride: int, dynamic: bool) -> None:
    base = ModelSpec((InputSpec.image(640, 640),), image=ImageTransform(stride=stride))
    request = ShapeRequest(imgsz=(height, width), dynamic=frozenset({"hw"}) if dynamic else None)
    spec, _ = request.apply(base)
    for wanted, axis in zip((height, width), spec.input("images").dims[-2:], strict=True):
        assert wanted <= axis.opt < wanted + stride
        assert axis.min % stride == axis.opt % stride == axis.max % stride == 0


def test_several_profiles() -> None:
    request = ShapeRequest(shapes=parse_shapes(["images=1x3x640x640", "images=2..16@8x3x320x320"]))
    spec, _ = request.apply(SPEC)
    (tensor,) = spec.inputs
    assert len(tensor.profiles) == 2
    assert tensor.dims == (Dim(1, 1, 16, "batch"), THREE, Dim(320, 640, 640), Dim(320, 640, 640))
    assert spec.image_size == (640, 640)


def test_inputs_have_one_profile_or_as_many_as_the_others() -> None:
    two = ModelSpec((*SPEC.inputs, TOKENS), image=ImageTransform())
    one_and_two = ShapeRequest(shapes=parse_shapes(["images=1x3x64x64", "tokens=1x4", "tokens=2x8"]))
    spec, _ = one_and_two.apply(two)
    assert [len(tensor.profiles) for tensor in spec.inputs] == [1, 2]
    two_and_three = parse_shapes([*["images=1x3x64x64"] * 2, *["tokens=1x4"] * 3])
    with pytest.raises(ShapeError, match="images 2, tokens 3") as caught:
        ShapeRequest(shapes=two_and_three).apply(two)
    assert "Specify one shape for every input" in (caught.value.hint or "")


def test_the_batch_reaches_every_input_the_size_only_the_image() -> None:
    two = ModelSpec((*SPEC.inputs, TOKENS), image=ImageTransform())
    request = ShapeRequest(imgsz=(64, 96), batch=Dim.fixed(2))
    assert shape_of(request, two) == "2x3x64x96"
    assert shape_of(request, two, "tokens") == "2xlength:4..64@16"
    static = ShapeRequest(dynamic=frozenset())
    assert shape_of(static, two) == "1x3x640x640"


def test_static_means_every_axis_of_every_input() -> None:
    two = ModelSpec((*SPEC.inputs, TOKENS), image=ImageTransform())
    assert shape_of(ShapeRequest(dynamic=frozenset()), two, "tokens") == "1x16"
    assert shape_of(ShapeRequest(dynamic=frozenset({"batch"})), two, "tokens") == "batch:1..16@8x16"


def test_another_input_shares_the_axes_of_the_image() -> None:
    """A mask, say: its adapter gives it the image's height and width, by their names."""
    mask = InputSpec("masks", ((Dim(1, 8, 16, "batch"), Dim(320, 640, 1280, "height"), Dim(320, 640, 1280, "width")),))
    two = ModelSpec((*SPEC.inputs, mask), image=ImageTransform())
    dynamic = ShapeRequest(dynamic=frozenset({"batch", "hw"}))
    assert shape_of(dynamic, two, "masks") == "batch:1..16@8xheight:320..1280@640xwidth:320..1280@640"
    assert shape_of(ShapeRequest(dynamic=frozenset({"batch"})), two, "masks") == "batch:1..16@8x640x640"


def test_unknown_inputs_are_named() -> None:
    with pytest.raises(ShapeError, match="no input 'image'") as caught:
        ShapeRequest(shapes=parse_shapes(["image=1x3x64x64"])).apply(SPEC)
    assert caught.value.hint == "Did you mean 'images'?"


def test_another_number_of_axes_is_refused() -> None:
    with pytest.raises(ShapeError, match="3 axes, but the model's input has 4") as caught:
        ShapeRequest(shapes=parse_shapes(["images=3x64x64"])).apply(SPEC)
    assert "batch:1..16@8x3x640x640" in (caught.value.hint or "")


def test_a_size_for_a_model_without_image_is_refused() -> None:
    vectors = ModelSpec((InputSpec("a", ((BATCH, Dim.fixed(4)),)),))
    assert shape_of(ShapeRequest(batch=Dim.fixed(2)), vectors, "a") == "2x4"
    with pytest.raises(ShapeError, match="has no image input") as caught:
        ShapeRequest(imgsz=(64, 64)).apply(vectors)
    assert "--shape" in (caught.value.hint or "")


def test_an_input_without_axes() -> None:
    scalar = ModelSpec((*SPEC.inputs, InputSpec("threshold", ((),))), image=ImageTransform())
    spec, _ = ShapeRequest(batch=Dim.fixed(2)).apply(scalar)
    assert spec.input("threshold").dims == ()


@pytest.mark.parametrize(
    ("batch", "dynamic", "message"),
    [
        (Dim.fixed(4), {"batch"}, "--batch 4 and --dynamic batch conflict"),
        (Dim.fixed(4), {"batch", "hw"}, "--batch 4 and --dynamic batch,hw conflict"),
        (Dim(1, 8, 16, "batch"), {"hw"}, "--batch 1..16@8 and --dynamic hw conflict"),
        (Dim(1, 8, 16, "batch"), set(), "--batch 1..16@8 and --dynamic none conflict"),
    ],
)
def test_a_batch_that_contradicts_the_dynamic_axes(batch: Dim, dynamic: set[str], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        ShapeRequest(batch=batch, dynamic=frozenset(dynamic))


def test_a_batch_that_agrees_with_the_dynamic_axes() -> None:
    assert shape_of(ShapeRequest(batch=Dim(1, 2, 4), dynamic=frozenset({"batch"}))) == "batch:1..4@2x3x640x640"
    assert shape_of(ShapeRequest(batch=Dim.fixed(4), dynamic=frozenset({"hw"}))).startswith("4x3xheight:")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ({"verify": "ful"}, "Did you mean 'full'?"),
        ({"exporter": "torch"}, "Did you mean 'torchscript'?"),
        ({"precision": "fp17"}, "Did you mean 'fp16'?"),
        ({"target": 9}, "Available: 10, 11, 8"),
        ({"to": ("onx",)}, "Did you mean 'onnx'?"),
    ],
)
def test_words_that_do_not_exist(words: dict[str, object], hint: str) -> None:
    with pytest.raises(UsageError, match=r"does not exist|Unknown|--to 'onx'") as caught:
        Request("best.pt", "yolov5", **words)  # type: ignore[arg-type]
    assert hint in (caught.value.hint or "")


def test_opsets_that_are_too_old() -> None:
    with pytest.raises(UsageError, match="Opset 9 is too old") as caught:
        Request("best.pt", "yolov5", opset=9)
    assert "17" in (caught.value.hint or "")
    assert Request("best.pt", "yolov5", opset=11).opset == 11


def test_parsed_shapes_stay_what_they_are_without_a_stride() -> None:
    spec = ModelSpec((InputSpec("x", (parse_shape("N:1..8x10"),)),))
    assert ShapeRequest().apply(spec) == (spec, [])


@pytest.mark.parametrize(("shape", "got"), [("1..4x640x640x3", "640"), ("1x1..3x640x640", "1..3@3")])
def test_a_whole_shape_with_other_channels_is_refused(shape: str, got: str) -> None:
    with pytest.raises(ShapeError, match=rf"images of this model have 3 channels; got {re.escape(got)}\.") as caught:
        ShapeRequest(shapes=parse_shapes([f"images={shape}"])).apply(SPEC)
    assert caught.value.hint == (
        "The order is batch x channels x height x width, for example images=1..16@8x3x640x640."
    )


def test_naming_the_batch_as_dynamic_keeps_the_range_of_the_adapter() -> None:
    """``--dynamic batch,hw`` asks for other heights and widths, not for twice the batch that an adapter considers safe."""
    own = ModelSpec((InputSpec.image(64, 64, batch=Dim(1, 4, 8, "batch")),), image=ImageTransform())
    assert shape_of(ShapeRequest(dynamic=frozenset({"batch"})), own) == "batch:1..8@4x3x64x64"
    assert shape_of(ShapeRequest(dynamic=frozenset({"batch", "hw"})), own).startswith("batch:1..8@4x3x")
    fixed = ModelSpec((InputSpec.image(64, 64, batch=Dim.fixed(1)),))
    assert shape_of(ShapeRequest(dynamic=frozenset({"batch"})), fixed) == "batch:1..16@8x3x64x64"
