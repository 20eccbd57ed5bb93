"""The pre- and postprocessing that a spec describes, without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta, Predictions
    from adaptrt.specs import ModelSpec
    from adaptrt.vision.images import ImageArray


class Processing:
    """Pre- and postprocessing of a spec, for servers that run the network themselves.

    Calls the hooks ``preprocess`` and ``postprocess`` of core, of the spec's adapter if it is installed, and of extensions;
    ``warnings`` names extensions that were skipped. The methods take another ``spec`` for other decoder parameters.
    """

    def __init__(self, spec: ModelSpec, *, plugins_file: Path | None = None) -> None:
        from adaptrt.pipeline.sessions import open_session
        from adaptrt.plugins.discovery import ADAPTERS, find_candidates

        installed = [candidate.name for candidate in find_candidates(ADAPTERS)] if spec.adapter else []
        session, _ = open_session(spec.adapter if spec.adapter in installed else None, plugins_file)
        self.spec = spec
        self.warnings = list(session.warnings)
        self._hooks = session.hooks

    @cached_property
    def is_core(self) -> bool:
        """Whether preprocessing uses core only: no plugin changes or watches it."""
        return self._hooks.only_core("preprocess")

    @cached_property
    def decodes_in_core(self) -> bool:
        """Whether postprocessing uses core only."""
        return self._hooks.only_core("postprocess")

    def preprocess(
        self, image: ImageArray, spec: ModelSpec | None = None
    ) -> tuple[Mapping[str, NDArray[Any]], ImageMeta]:
        """An image, uint8 [H, W, C], as inputs of batch 1, and its position in them."""
        return self._hooks.preprocess(image, spec or self.spec)

    def postprocess(
        self, outputs: dict[str, NDArray[Any]], metas: Sequence[ImageMeta], spec: ModelSpec | None = None
    ) -> Sequence[Predictions]:
        """The prediction of each image of a batch."""
        return self._postprocess(outputs, metas, spec or self.spec)

    @cached_property
    def _postprocess(self) -> Callable[..., Sequence[Predictions]]:
        if not self.decodes_in_core:
            return self._hooks.postprocess
        from adaptrt.vision.decoders.decode import decode

        return decode


def spec_with_params(spec: ModelSpec, params: Mapping[str, Any]) -> ModelSpec:
    """The spec with other decoder parameters, given as text or values, also of NumPy; a ``UsageError`` names one that is unknown or
    invalid."""
    if not params:
        return spec
    from adaptrt.options import fill_options, no_option, takes_option
    from adaptrt.specs.decoders import decoder_of

    decoder = decoder_of(spec)
    for key in params:
        if not takes_option(decoder.params, key):
            raise no_option(f"Decoder {decoder.name!r} has no option {key!r}.", key, decoder.params)
    filled = fill_options(decoder.params, {key: _plain(value) for key, value in params.items()})
    return spec.with_decoder_params(**{key: getattr(filled, key) for key in params})


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays, also in a list, as Python's numbers and lists."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value
