"""The spec out of shapes and options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adaptrt import Dim, ShapeError, UsageError
from adaptrt.vision.transforms import transform_batch
from adaptrt_torch.describing import describe
from adaptrt_torch.loading import load

Make = Callable[..., Any]


def spec_of(ctx: Any) -> Any:
    return describe(ctx, load(ctx))


def test_inputs_in_the_order_of_the_model_with_names_for_dynamic_axes(conversion: Make) -> None:
    shape = ("mask=1..4x3..8", "x=1..4x3..8x6", "ids=1..4x3..8")
    spec = spec_of(conversion("nets.py:Tokens", shape, options={"dtypes": {"ids": "int64"}}))
    assert [tensor.name for tensor in spec.inputs] == ["x", "ids", "mask"]
    assert [[axis.name for axis in tensor.dims] for tensor in spec.inputs] == [
        ["batch", "x_1", None],
        ["batch", "ids_1"],
        ["batch", "mask_1"],
    ]
    assert [tensor.dtype for tensor in spec.inputs] == ["float32", "int64", "float32"]


def test_names_shared_across_inputs(conversion: Make) -> None:
    spec = spec_of(conversion("nets.py:Tokens", ("x=B:1..4xN:3..8x6", "ids=B:1..4xN:3..8")))
    assert spec.input("x").dims[:2] == spec.input("ids").dims == (Dim(1, 4, 4, "B"), Dim(3, 8, 8, "N"))


def test_one_name_has_one_range(conversion: Make) -> None:
    with pytest.raises(ShapeError, match="N is N:3..9@9 at axis 1 of ids, but has another range at axis 1 of x"):
        spec_of(conversion("nets.py:Tokens", ("x=1xN:3..8x6", "ids=1xN:3..9")))


def test_a_separate_first_axis_is_not_a_batch(conversion: Make) -> None:
    spec = spec_of(
        conversion("nets.py:Nested", ("batch.image=1..4x2", "batch.extra=2..3x2", "pair.0=1..4x2", "pair.1=1x2"))
    )
    assert [tensor.dims[0].name for tensor in spec.inputs] == ["batch", "batch_extra_0", "batch", None]


@pytest.mark.parametrize(
    ("decoder", "task"),
    [("yolo", "detect"), ("boxes", "detect"), ("semantic", "semantic"), ("raw", "values"), ("reading", "classify")],
)
def test_the_task_is_that_of_the_decoder(
    decoder: str, task: str, conversion: Make, fake_distribution: Callable[..., Path]
) -> None:
    """One of another distribution too, which no table of the adapter knows."""
    source = """
        from adaptrt import Decoder
        from adaptrt.vision.decoders.raw import RawParams, decode
        decoder = Decoder("reading", RawParams, decode, task="classify")
    """
    fake_distribution(
        "adaptrt-reading", {"adaptrt.decoders": {"reading": "reading:decoder"}}, modules={"reading": source}
    )
    assert spec_of(conversion("nets.py:ImageArray", imgsz=(16, 24), options={"decoder": decoder})).task == task


def test_an_image_goes_in_as_options_say(conversion: Make) -> None:
    options = {"mean": [0.5, 0.5, 0.5], "resize": "letterbox", "decoder": "classify"}
    spec = spec_of(conversion("nets.py:ImageArray", imgsz=(16, 24), options=options))
    assert spec.image.mean == (0.5, 0.5, 0.5)
    assert spec.image_size == (16, 24)
    assert spec.image.resize == "letterbox"
    assert (spec.task, spec.decoder.name) == ("classify", "classify")
    assert spec_of(conversion("nets.py:ImageArray", ("a=1x3x8x8",))).image.input == "a"
    assert spec_of(conversion("nets.py:ImageArray", ("a=1x3x8x8",), options={"image": "none"})).image is None
    assert (
        spec_of(conversion("nets.py:Nested", ("batch.image=1x2", "batch.extra=1x2", "pair.0=1x2", "pair.1=1x2"))).image
        is None
    )


def test_the_preprocessing_of_torchvision_in_the_how_to_guide(conversion: Make) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    options = {
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        "resize": "crop", "crop_fraction": 0.875, "library": "pil",
    }  # fmt: skip
    spec = spec_of(conversion("nets.py:ImageArray", imgsz=(224, 224), options=options))
    image = np.random.default_rng(0).integers(0, 256, (300, 411, 3), dtype=np.uint8)
    ours, _ = transform_batch([image], spec)
    theirs = transforms.Compose([
        transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize(options["mean"], options["std"]),
    ])(Image.fromarray(image))  # fmt: skip
    np.testing.assert_allclose(ours[spec.image.input][0], theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((), {}, "input shapes of the model are unknown"),
        (("a=1x3x8x8",), {"dtypes": {"b": "int64"}}, "no such input"),
        (("a=1x3x8x8",), {"dtypes": {"a": "int65"}}, "unknown dtype"),
        (("a=1x3x8x8",), {"ranges": {"b": [0, 1]}}, "no such input"),
        (("a=1x3x8x8",), {"image": "b"}, "no such input"),
        (("a=1x8x8",), {"image": "a"}, "an image input must be"),
        (("a=1x3x8x8",), {"labels": "missing.txt"}, "cannot be read"),
    ],
)
def test_wrong_words(conversion: Make, shape: tuple[str, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec_of(conversion("nets.py:ImageArray", shape, options=options))


def test_an_exported_program_says_its_own_shapes(conversion: Make, folder: Any) -> None:
    batch = torch.export.Dim("batch", min=2, max=6)
    with torch.no_grad():
        model = load(conversion("nets.py:Vector", ("x=1x4", "mask=1x2")))
        inputs = (torch.ones(2, 4), torch.ones(2, 2))
        program = torch.export.export(model, inputs, dynamic_shapes={"x": {0: batch}, "mask": {0: batch}})
    torch.export.save(program, folder / "net.pt2")
    spec = spec_of(conversion("net.pt2", trust_checkpoint=True))
    axes = [[(axis.min, axis.max) for axis in tensor.dims] for tensor in spec.inputs]
    assert axes == [[(2, 6), (4, 4)], [(2, 6), (2, 2)]]
    assert spec.inputs[0].dims[0].name == spec.inputs[1].dims[0].name == "batch"
    with pytest.raises(ShapeError, match="the exported program accepts"):
        spec_of(conversion("net.pt2", ("x=2..9x4",), trust_checkpoint=True))
    with pytest.raises(ShapeError, match="the exported program accepts"):
        spec_of(conversion("net.pt2", ("x=2x5",), trust_checkpoint=True))
    with pytest.raises(ShapeError, match=r"requested as batch:1\.\.4@2; the exported program accepts"):
        spec_of(conversion("net.pt2", batch=Dim(1, 2, 4, "batch"), trust_checkpoint=True))


def test_torchscript_has_one_exporter(conversion: Make, folder: Any) -> None:
    torch.jit.trace(torch.nn.Linear(4, 2), torch.ones(2, 4)).save(str(folder / "t.pt"))
    asked = {"shape": ("x=1..4x4",), "trust_checkpoint": True}
    assert spec_of(conversion("t.pt", **asked)).exporter == "torchscript"
    with pytest.raises(UsageError, match="does not accept TorchScript"):
        spec_of(conversion("t.pt", **asked, exporter="dynamo"))
