"""What of a decoder is written into a converted file."""

from __future__ import annotations

from typing import Any, cast

import pytest

from adaptrt.errors import UsageError
from adaptrt.pipeline.decoder_options import with_decoder_options
from adaptrt.plugins.facade import Hooks
from adaptrt.request import Request
from adaptrt.specs import DecoderSpec, InputSpec, ModelSpec

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
    with pytest.raises(UsageError, match="no class 'c'"):
        completed(DecoderSpec("yolo"), classes="c")
