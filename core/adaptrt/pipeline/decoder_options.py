"""``--set`` between the adapter and the decoder: the adapter's part is known at once, the decoder with the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptrt.errors import PluginError, UsageError, did_you_mean
from adaptrt.options import fill_options, option_names, split_options, takes_option
from adaptrt.request import Request
from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    from adaptrt.plugins.facade import Hooks
    from adaptrt.predictions import Decoder


def split_request_options(hooks: Hooks, request: Request) -> tuple[Any, dict[str, Any]]:
    """The adapter's options, filled, and what is left for the decoder.

    Which decoder that is only the model tells; what none of them takes is a ``UsageError`` already.
    """
    own = hooks.adapter_options()
    options, left = split_options(own, request.options)
    if left:
        _require_taken(left, request.adapter, own)
    return options, left


def with_decoder_options(spec: ModelSpec, left: Mapping[str, Any], hooks: Hooks, request: Request) -> ModelSpec:
    """The spec with what was left for its decoder; a ``UsageError`` names an option that it does not take."""
    if not left:
        return spec
    from adaptrt.vision.decoders.params import class_filter
    from adaptrt.vision.decoders.registry import find_decoder, is_own

    decoder = find_decoder(spec.decoder.name if spec.decoder else "raw")
    for key in left:
        if not takes_option(decoder.params, key):
            raise UsageError(
                f"Neither adapter {request.adapter!r} nor decoder {decoder.name!r} has an option {key!r}.",
                hint=did_you_mean(key, option_names(decoder.params) + _names(hooks.adapter_options())),
            )
    params = fill_options(decoder.params, {**(spec.decoder.params if spec.decoder else {}), **left})
    if is_own(decoder.name) and "classes" in left:  # a file with a class that it lacks would predict nothing
        class_filter(params.classes, spec.labels)
    return spec.with_decoder_params(**{key: getattr(params, key) for key in left})


def _require_taken(left: Mapping[str, Any], adapter: str, own: type[Any] | None) -> None:
    from adaptrt.vision.decoders.registry import decoder_names, find_decoder

    try:
        decoders = [find_decoder(name) for name in decoder_names()]
    except PluginError:
        return  # it may be one that cannot be loaded; that is told if the model asks for it
    for key in left:
        if not any(takes_option(decoder.params, key) for decoder in decoders):
            known = {name for decoder in decoders for name in option_names(decoder.params)}
            raise UsageError(
                f"Neither adapter {adapter!r} nor any decoder has an option {key!r}.",
                hint=did_you_mean(key, {*known, *_names(own)}),
            )
    _require_values(left, decoders)


def _require_values(left: Mapping[str, Any], decoders: list[Decoder]) -> None:
    """Refuse values that every decoder with these options refuses.

    One of core's has to be among them: rules of others may span parameters that only the model's spec sets.
    """
    from adaptrt.vision.decoders.registry import is_own

    takers = [decoder for decoder in decoders if all(takes_option(decoder.params, key) for key in left)]
    refused = None
    for decoder in takers:
        try:
            fill_options(decoder.params, left)
        except UsageError as error:
            refused = refused or error
        else:
            return
    if refused is not None and any(is_own(decoder.name) for decoder in takers):
        raise refused


def _names(options: type[Any] | None) -> list[str]:
    return option_names(options) if options is not None else []
