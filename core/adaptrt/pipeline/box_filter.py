"""Which boxes of a detector's raw outputs its decoder needs: a runner may leave the others on the device."""

from __future__ import annotations

import numpy as np

from adaptrt.errors import AdaptrtError
from adaptrt.options import fill_options
from adaptrt.pipeline.processing import Processing
from adaptrt.predictions import ImageMeta
from adaptrt.specs import ModelSpec
from adaptrt.specs.decoders import Decoder, decoder_of, is_own
from adaptrt.specs.layouts import BoxFilter
from adaptrt.vision.decoders.candidates import FromCandidates


def box_filter(spec: ModelSpec, processing: Processing) -> BoxFilter | None:
    """The filter of the spec's decoder; ``None`` if it needs the whole outputs, or a plugin may."""
    if not processing.decodes_in_core or not spec.outputs:
        return None
    decoder = decoder_of(spec)
    decode = decoder.decode
    if not isinstance(decode, FromCandidates) or decode.layout is None:
        return None
    layout = decode.layout(spec)
    if layout is None:
        return None
    params = fill_options(decoder.params, spec.decoder.params if spec.decoder else {})
    if _only_selects(decoder, decode, spec) and params.iou is not None and params.classes is None:
        offset = 0.0 if params.agnostic else decode.class_offset
        if offset is not None:
            return BoxFilter(layout, params.conf, params.iou, offset, params.max_det)
    return BoxFilter(layout, params.conf)


def _only_selects(decoder: Decoder, decode: FromCandidates, spec: ModelSpec) -> bool:
    """Whether predictions follow from the boxes, scores and classes that the layout describes, and the decoder would read these outputs.

    What the decoder of a plugin does with them is not known.
    """
    if not (decode.at_once and is_own(decoder.name)) or decoder.problems is not None:
        return False
    outputs = {
        output.name: np.empty([1, *(axis if isinstance(axis, int) else 0 for axis in output.dims[1:])], np.float32)
        for output in spec.outputs
    }
    try:
        decode.read(outputs, [ImageMeta((1, 1), (1, 1))], spec)
    except AdaptrtError:  # it says so when it decodes
        return False
    return True
