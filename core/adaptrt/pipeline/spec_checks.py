"""Whether a model can be converted as requested, asked of its spec: before the model runs, and of its first outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.errors import ModelError, UsageError
from adaptrt.pipeline.embedding import require_embeddable
from adaptrt.predictions import ImageMeta
from adaptrt.specs.decoders import another_decoder, find_decoder

if TYPE_CHECKING:
    from adaptrt.plugins.facade import Hooks
    from adaptrt.request import Request
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


def require_convertible(request: Request, hooks: Hooks, spec: ModelSpec) -> None:
    """Reject options that this model does not support, and a decoder that is not installed, before minutes are spent."""
    if spec.decoder is not None:
        find_decoder(spec.decoder.name)
    _require_image_input(request, hooks, spec)
    if request.nms is not None:
        from adaptrt.pipeline.graph_nms import require_nms

        require_nms(request, spec)
    require_embeddable(request, hooks, spec)


def require_decodable(hooks: Hooks, spec: ModelSpec, inputs: Arrays, outputs: Arrays) -> None:
    """Decode one row of the model's outputs, so that a decoder that does not fit them is an error before the export."""
    if spec.decoder is None or spec.image is None or not hooks.only_core("postprocess"):
        return
    from adaptrt.vision.decoders.decode import decode

    shape = inputs[spec.image.input].shape
    height, width, _ = (shape[axis] for axis in spec.image.axes)
    rows = shape[0]
    if all(array.ndim and array.shape[0] == rows for array in outputs.values()):
        outputs, rows = {name: array[:1] for name, array in outputs.items()}, 1
    outputs = {name: array.copy() for name, array in outputs.items()}  # a decoder may write into them
    try:
        decode(outputs, [ImageMeta((height, width), (height, width))] * rows, spec)
    except ModelError as error:
        error.hint = error.hint or another_decoder()
        raise


def _require_image_input(request: Request, hooks: Hooks, spec: ModelSpec) -> None:
    if spec.image is not None or not hooks.only_core("preprocess"):
        return
    for option, given in (("--image", request.image), ("--test-image", request.test_image)):
        if given is not None:
            raise UsageError(f"{option}: the model has no image input.", hint=f"Omit {option}.")
