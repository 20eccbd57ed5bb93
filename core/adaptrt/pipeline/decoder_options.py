"""Splits ``--set`` between the adapter and the decoder; the decoder is only known once the model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adaptrt.errors import PluginError, ShapeError, UsageError, did_you_mean
from adaptrt.options import fill_options, no_option, option_names, renamed_option, split_options, takes_option
from adaptrt.request import Request, ShapeRequest
from adaptrt.specs import DecoderSpec, ModelSpec

if TYPE_CHECKING:
    from adaptrt.plugins.facade import Hooks
    from adaptrt.specs.decoders import Decoder


def split_request_options(hooks: Hooks, request: Request) -> tuple[Any, dict[str, Any]]:
    """The adapter's options, filled, and the remaining options for the decoder.

    The decoder depends on the model; an option that no decoder accepts, or that the decoder named by the options does not
    accept, raises a ``UsageError`` here. So does a shape that contradicts the others, and one of an input that the
    adapter's models do not have.
    """
    own = hooks.adapter_options()
    _require_shapes(request.shapes, own)
    options, left = split_options(own, request.options)
    named = getattr(options, "decoder", None)
    if isinstance(named, str):
        _require_decoder_options(named, left, request.adapter, own)
    elif left:
        _require_taken(left, request.adapter, own)
    return options, left


def _require_shapes(shapes: ShapeRequest, own: type[Any] | None) -> None:
    """Reject names and contradictions that are known without the model.

    The options type of an adapter may have ``INPUTS``, a class attribute: the names of the inputs that all of its models
    have, the image first; ``()`` if the inputs are those named by ``--shape``.
    """
    known: tuple[str, ...] | None = getattr(own, "INPUTS", None)
    if known is None:
        return
    unknown = [name for name in shapes.shapes if known and name not in known]
    if unknown:
        raise ShapeError(f"The model has no input {unknown[0]!r}.", hint=did_you_mean(unknown[0], known))
    images = [name for name, profiles in shapes.shapes.items() if len(profiles[0]) == 4]
    image = known[0] if known else images[0] if len(images) == 1 else None
    if image is not None and image in shapes.shapes:
        shapes.require_same(image, shapes.shapes[image], (-2, -1))


def _require_decoder_options(name: str, left: Mapping[str, Any], adapter: str, own: type[Any] | None) -> None:
    from adaptrt.specs.decoders import find_decoder

    decoder = find_decoder(name)
    for key in left:
        if not takes_option(decoder.params, key):
            raise _no_option(key, adapter, decoder, own)
    fill_options(decoder.params, left)


def _no_option(key: str, adapter: str, decoder: Decoder, own: type[Any] | None) -> UsageError:
    return no_option(
        f"Neither adapter {adapter!r} nor decoder {decoder.name!r} has an option {key!r}.",
        key,
        decoder.params,
        _names(own),
    )


def with_decoder_options(spec: ModelSpec, left: Mapping[str, Any], hooks: Hooks, request: Request) -> ModelSpec:
    """The spec with every parameter of its decoder, from the spec, from ``left`` or the decoder's default, so that a later
    version with other defaults reads the file the same way. Raises a ``UsageError`` for an option that the decoder does
    not accept."""
    if spec.decoder is None and not left:
        return spec
    import msgspec

    from adaptrt.specs.decoders import decoder_of, is_own, owner_of
    from adaptrt.vision.decoders.params import DetectionParams, class_filter

    decoder = decoder_of(spec)
    for key in left:
        if not takes_option(decoder.params, key):
            raise _no_option(key, request.adapter, decoder, hooks.adapter_options())
    params = fill_options(decoder.params, {**(spec.decoder.params if spec.decoder else {}), **left})
    if isinstance(params, DetectionParams):  # a file with an unknown class would predict nothing
        class_filter(params.classes, spec.labels)
    distribution = None if is_own(decoder.name) else owner_of(decoder.name).partition(" ")[0]
    # as read back from a file: lists for tuples
    complete = msgspec.json.decode(
        msgspec.json.encode({name: getattr(params, name) for name in option_names(decoder.params)})
    )
    return replace(spec, decoder=DecoderSpec(decoder.name, complete, distribution))


def _require_taken(left: Mapping[str, Any], adapter: str, own: type[Any] | None) -> None:
    from adaptrt.specs.decoders import decoder_names, find_decoder

    try:
        decoders = [find_decoder(name) for name in decoder_names()]
    except PluginError:
        return  # it may belong to a decoder that cannot be loaded; reported if the model uses that one
    for key in left:
        if not any(takes_option(decoder.params, key) for decoder in decoders):
            renamed = next(filter(None, (renamed_option(decoder.params, key) for decoder in decoders)), None)
            known = {name for decoder in decoders for name in option_names(decoder.params)}
            raise UsageError(
                f"Neither adapter {adapter!r} nor any decoder has an option {key!r}.",
                hint=f"{key} was renamed to {renamed}: --set {renamed}=..."
                if renamed
                else did_you_mean(key, {*known, *_names(own)}),
            )
    _require_values(left, decoders)


def _require_values(left: Mapping[str, Any], decoders: list[Decoder]) -> None:
    """Reject values that every decoder with these options rejects.

    Only if one of them is built in: rules of other decoders may involve parameters that the model's spec sets.
    """
    from adaptrt.specs.decoders import is_own

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
