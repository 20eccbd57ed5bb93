"""What of a decoder is written into a converted file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import pytest

from adaptrt.errors import PluginError, ShapeError, UsageError
from adaptrt.pipeline.decoder_options import split_request_options, with_decoder_options
from adaptrt.plugins.facade import Hooks
from adaptrt.request import Request, ShapeRequest
from adaptrt.specs import DecoderSpec, Dim, InputSpec, ModelSpec, parse_shapes

REQUEST = Request("net", "tiny")


class NoOptions:
    def adapter_options(self) -> None:
        return None


def completed(decoder: DecoderSpec | None, **left: Any) -> DecoderSpec | None:
    spec = ModelSpec((InputSpec.image(8, 8),), task="detect", decoder=decoder, labels=("a", "b"))
    return with_decoder_options(spec, left, cast("Hooks", NoOptions()), REQUEST).decoder


def test_the_decoders_defaults_are_in_the_file() -> None:
    """So a later version with other defaults gives the same results for it."""
    defaults = {"conf": 0.25, "iou": 0.7, "max_det": 300, "agnostic": False, "classes": None}
    assert completed(DecoderSpec("yolo")) == DecoderSpec("yolo", defaults)
    assert completed(DecoderSpec("yolo", {"iou": 0.45})) == DecoderSpec("yolo", {**defaults, "iou": 0.45})
    assert completed(DecoderSpec("boxes"), conf="0.4") == DecoderSpec("boxes", {**defaults, "iou": None, "conf": 0.4})
    assert completed(DecoderSpec("raw")) == DecoderSpec("raw")
    assert completed(None) is None


def test_one_threshold_for_mmdets_dense_heads() -> None:
    pytest.importorskip("adaptrt_mmdet")
    found = completed(DecoderSpec("dense", {"conf": 0.25, "strides": [8]}), conf="0.005")
    assert found is not None
    assert found.params["conf"] == 0.005
    assert "score_thr" not in found.params
    assert found.distribution == "adaptrt-mmdet", "what to install where it is missing"
    with pytest.raises(UsageError) as caught:
        completed(DecoderSpec("dense"), score_thr="0.005")
    assert caught.value.hint == "score_thr was renamed to conf: --set conf=..."


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="Unknown class 'c'"):
        completed(DecoderSpec("yolo"), classes="c")


@dataclass(frozen=True)
class Images:
    INPUTS: ClassVar[tuple[str, ...]] = ("images", "masks")


@dataclass(frozen=True)
class Anything:
    INPUTS: ClassVar[tuple[str, ...]] = ()
    decoder: str = "raw"


def split(own: type[Any], options: dict[str, str] | None = None, **shapes: Any) -> dict[str, Any]:
    class Adapter:
        def adapter_options(self) -> type[Any]:
            return own

    request = Request("net", "tiny", options=options or {}, shapes=ShapeRequest(**shapes))
    return split_request_options(cast("Hooks", Adapter()), request)[1]


def test_invalid_shapes_are_reported_before_the_model_is_loaded() -> None:
    with pytest.raises(ShapeError, match="no input 'image'") as caught:
        split(Images, shapes=parse_shapes(["image=1x3x64x64"]))
    assert caught.value.hint == "Did you mean 'images'?"
    for own, name in ((Images, "images"), (Anything, "x")):
        with pytest.raises(ShapeError, match="--imgsz 32x32 conflict"):
            split(own, shapes=parse_shapes([f"{name}=1x3x64x64"]), imgsz=(32, 32))
        with pytest.raises(ShapeError, match="--batch 4 conflict"):
            split(own, shapes=parse_shapes([f"{name}=1x3x64x64"]), batch=Dim.fixed(4))
        split(own, shapes=parse_shapes([f"{name}=1x3x64x64"]), imgsz=(64, 64))
    split(Anything, shapes=parse_shapes(["a=1x3x64x64", "b=1x3x64x64"]), imgsz=(32, 32))  # either may be the image


def test_options_of_a_decoder_that_is_named() -> None:
    assert split(Anything, {"decoder": "yolo", "conf": "0.4"}) == {"conf": "0.4"}
    with pytest.raises(PluginError, match="Unknown decoder 'yolo_seg'"):
        split(Anything, {"decoder": "yolo_seg"})
    with pytest.raises(UsageError, match="nor decoder 'raw' has an option 'conf'"):
        split(Anything, {"conf": "0.4"})
