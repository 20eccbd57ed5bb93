"""Specs: images prepared as timm does it, sizes, and what cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
timm = pytest.importorskip("timm", reason="needs timm")

from micro_swin import not_in_old  # noqa: E402
from PIL import Image  # noqa: E402
from timm.data import create_transform, resolve_data_config  # noqa: E402

from adaptrt import ShapeError, ShapeRequest, UsageError  # noqa: E402
from adaptrt.vision.transforms import transform_batch  # noqa: E402
from adaptrt_timm import any_model, swin  # noqa: E402
from adaptrt_timm.describing import classifier_spec  # noqa: E402
from adaptrt_timm.source import Source  # noqa: E402

Make = Callable[..., Any]
NAMES = [
    "swin_tiny_patch4_window7_224",
    "swin_base_patch4_window12_384",
    "swin_s3_tiny_224",
    "resnet18.tv_in1k",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "efficientnet_b0.ra_in1k",
    "vit_base_patch16_siglip_224.webli",
]


@pytest.mark.parametrize("name", NAMES)
def test_images_are_prepared_as_timm_does(name: str, conversion: Make, image: Path) -> None:
    """With the arrays that its evaluation transform gives, bit for bit, for the config of any model."""

    class Described(torch.nn.Module):
        """A model as far as its config goes."""

        num_classes = 1000
        pretrained_cfg = timm.models.get_pretrained_cfg(name).to_dict()

    model = Described()
    spec = classifier_spec(conversion(name), model, Source(name))
    theirs = create_transform(**resolve_data_config({}, model=model))
    for path in (image,):
        image = Image.open(path).convert("RGB")
        arrays, _ = transform_batch([np.asarray(image)], spec)
        np.testing.assert_array_equal(arrays["images"][0], theirs(image).numpy())


@pytest.mark.parametrize("imgsz", [None, (96, 96), pytest.param((96, 64), marks=not_in_old)])
def test_the_prediction_of_timm_is_that_of_its_transform_and_model(
    imgsz: tuple[int, int] | None, micro_file: Path, conversion: Make, image: Path
) -> None:
    ctx = conversion(micro_file, shapes=ShapeRequest(imgsz=imgsz))
    model = swin.load_model(ctx)
    spec = swin.model_spec(ctx, model)
    found = swin.framework_predictions(ctx, image)
    arrays, _ = transform_batch([np.asarray(Image.open(image).convert("RGB"))], spec)
    with torch.no_grad():
        scores = model(torch.from_numpy(arrays["images"]))[0].softmax(-1)
    assert [found.name(i) for i in range(2)] == ["abcdefg"[int(i)] for i in scores.topk(2).indices]
    np.testing.assert_allclose(found.scores, scores.topk(5).values.numpy(), rtol=1e-5)


@pytest.mark.full
def test_timm_gets_the_pixels_of_a_file_that_pillow_does_not_read(
    micro_file: Path, conversion: Make, image: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "image.npy", np.asarray(Image.open(image).convert("RGB")))
    ctx = conversion(micro_file)
    model = swin.load_model(ctx)
    swin.model_spec(ctx, model)
    found, expected = (swin.framework_predictions(ctx, path) for path in (tmp_path / "image.npy", image))
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_what_the_user_says_about_cutting(micro_file: Path, conversion: Make) -> None:
    ctx = conversion(micro_file, {"crop_pct": 0.8})
    spec = swin.model_spec(ctx, swin.load_model(ctx))
    assert spec.image is not None
    assert (spec.image.resize, spec.image.crop_fraction) == ("crop", 0.8)
    ctx = conversion(micro_file, {"crop_pct": 1.0, "crop_mode": "squash"})
    spec = swin.model_spec(ctx, swin.load_model(ctx))
    assert spec.image is not None
    assert spec.image.resize == "stretch"
    ctx = conversion(micro_file, {"crop_mode": "border"})
    model = swin.load_model(ctx)
    with pytest.raises(UsageError, match="crop_mode=center"):
        swin.model_spec(ctx, model)


def test_height_and_width_stay_fixed(micro_file: Path, conversion: Make) -> None:
    ctx = conversion(micro_file, shapes=ShapeRequest(dynamic=frozenset({"hw"})))
    with pytest.raises(ShapeError, match="cannot be dynamic"):
        swin.model_spec(ctx, swin.load_model(ctx))


def test_a_range_of_sizes_is_refused_too(micro_file: Path, conversion: Make) -> None:
    from adaptrt.specs import parse_shapes

    ctx = conversion(micro_file, shapes=ShapeRequest(shapes=parse_shapes(["images=1x3x32..64x64"])))
    with pytest.raises(ShapeError, match="cannot be dynamic"):
        swin.model_spec(ctx, swin.load_model(ctx))


def test_a_convolutional_network_takes_any_size(conversion: Make) -> None:
    ctx = conversion("resnet10t", shapes=ShapeRequest(imgsz=(96, 64), dynamic=frozenset({"batch", "hw"})))
    model = any_model.load_model(ctx)
    assert any_model.model_spec(ctx, model).image_size == (96, 64)


def test_other_channels_need_a_separate_normalization(conversion: Make) -> None:
    """timm's configs have that of RGB; what was trained with another is the user's to say."""
    said: list[str] = []
    ctx = dataclasses.replace(conversion("resnet10t", {"model_args": {"in_chans": 2}}), warn=said.append)
    spec = any_model.model_spec(ctx, any_model.load_model(ctx))
    assert spec.image is None
    assert [dim.opt for dim in spec.inputs[0].dims][1:] == [2, 176, 176]
    assert any("--set mean" in text for text in said)
    ctx = conversion("resnet10t", {"model_args": {"in_chans": 2}, "mean": (0.4, 0.2), "std": (0.5, 0.3)})
    spec = any_model.model_spec(ctx, any_model.load_model(ctx))
    assert spec.image is not None
    assert (spec.image.mean, spec.image.std, spec.image_channels) == ((0.4, 0.2), (0.5, 0.3), 2)
