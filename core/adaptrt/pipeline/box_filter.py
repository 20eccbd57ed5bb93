"""Which boxes of a detector's raw outputs its decoder needs: a runner may leave the others on the device."""

from __future__ import annotations

from adaptrt.options import fill_options
from adaptrt.pipeline.processing import Processing
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
            return BoxFilter(layout, params.conf, params.iou, offset, params.max_det, len(spec.labels))
    return BoxFilter(layout, params.conf)


def _only_selects(decoder: Decoder, decode: FromCandidates, spec: ModelSpec) -> bool:
    """Whether predictions follow from the boxes, scores and classes that the layout describes; what the decoder of a plugin makes of them is not known."""
    return decode.at_once and is_own(decoder.name) and decoder.problems is None and spec.task == decode.task
