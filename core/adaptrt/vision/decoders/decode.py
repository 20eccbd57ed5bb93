"""From raw outputs to predictions with the decoder that a spec names."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from adaptrt.options import fill_options
from adaptrt.vision.decoders.registry import find_decoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import Decoder, ImageMeta, Predictions
    from adaptrt.specs import ModelSpec


def decode(outputs: Mapping[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec) -> Sequence[Predictions]:
    """One prediction for each picture of the batch; without a decoder in the spec the raw values."""
    name = spec.decoder.name if spec.decoder else "raw"
    decoder, params = _resolved(name, msgspec.json.encode(spec.decoder.params if spec.decoder else {}))
    return decoder.decode(outputs, metas, spec, params)


@lru_cache(maxsize=32)
def _resolved(name: str, params: bytes) -> tuple[Decoder, Any]:
    """Found and filled once: this is on the way of every picture."""
    decoder = find_decoder(name)
    return decoder, fill_options(decoder.params, msgspec.json.decode(params))
