"""What is rejected before the export: options that the model does not support, and a decoder that does not fit its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, ImageTransform, InputSpec, ModelError, ModelSpec, NmsRequest, Request, UsageError
from adaptrt.pipeline.spec_checks import require_convertible, require_decodable


class Core:
    """Hooks without plugins."""

    core = True

    def only_core(self, hook: str) -> bool:
        return self.core


class Plugged(Core):
    core = False


VECTORS = ModelSpec((InputSpec.image(8, 8, name="x"),))
CLASSES = ModelSpec(
    (InputSpec.image(8, 8),),
    image=ImageTransform(),
    decoder=DecoderSpec("classify"),
    task="classify",
    labels=("a", "b"),
)


@pytest.mark.parametrize("option", ["image", "test_image"])
def test_an_image_for_a_model_without_image_input(option: str) -> None:
    request = Request("net", "torch", **{option: Path("a.jpg")})
    with pytest.raises(UsageError, match=f"^--{option.replace('_', '-')}: the model has no image input") as caught:
        require_convertible(request, Core(), VECTORS)  # type: ignore[arg-type]
    assert caught.value.hint == f"Omit --{option.replace('_', '-')}."
    require_convertible(request, Plugged(), VECTORS)  # type: ignore[arg-type] - its hook preprocess may make arrays of it
    require_convertible(request, Core(), CLASSES)  # type: ignore[arg-type]


def test_nms_of_a_model_without_boxes() -> None:
    with pytest.raises(UsageError, match="NMS requires boxes") as caught:
        require_convertible(Request("net", "torch", nms=NmsRequest()), Core(), CLASSES)  # type: ignore[arg-type]
    assert caught.value.hint == "Omit --nms."


def test_a_decoder_that_does_not_fit_the_outputs() -> None:
    inputs = {"images": np.zeros((2, 3, 8, 8), np.float32)}
    require_decodable(Core(), CLASSES, inputs, {"logits": np.zeros((2, 2), np.float32)})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"expects \[B, K\]; output 'maps' is \[1, 2, 8, 8\]") as caught:
        require_decodable(Core(), CLASSES, inputs, {"maps": np.zeros((2, 2, 8, 8), np.float32)})  # type: ignore[arg-type]
    assert (caught.value.hint or "").startswith("Choose another decoder. Available: box_masks, ")


def test_a_decoder_that_writes_into_outputs_leaves_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptrt.vision.decoders import decode

    def writes(outputs: Any, *_: Any) -> list[Any]:
        for array in outputs.values():
            array *= 8
        return []

    monkeypatch.setattr(decode, "decode", writes)
    for rows in (2, 3):
        outputs = {"logits": np.ones((rows, 2), np.float32)}
        require_decodable(Core(), CLASSES, {"images": np.zeros((2, 3, 8, 8), np.float32)}, outputs)  # type: ignore[arg-type]
        assert (outputs["logits"] == 1).all()
