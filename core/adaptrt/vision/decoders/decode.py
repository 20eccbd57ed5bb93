"""Converts raw outputs to predictions with the decoder of a spec."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from adaptrt.errors import AdaptrtError, PluginError
from adaptrt.options import fill_options
from adaptrt.specs.decoders import find_decoder, is_own, owner_of
from adaptrt.specs.spec_cache import SpecCache
from adaptrt.specs.tasks import Task, task_named

if TYPE_CHECKING:
    from adaptrt.predictions import ImageMeta, Predictions
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.decoders import Decoder
    from adaptrt.specs.tensors import Arrays


def decode(outputs: Arrays, metas: Sequence[ImageMeta], spec: ModelSpec) -> Sequence[Predictions]:
    """One prediction per image of the batch; the raw values if the spec has no decoder.

    A ``PluginError`` names the decoder and its distribution if it fails or returns anything else.
    """
    decoder, params, task, own = _named_by(spec)
    name = decoder.name
    try:
        found = decoder.decode(outputs, metas, spec, params)
    except AdaptrtError:
        raise
    except Exception as error:
        from adaptrt.plugins.raised_at import raised_at

        raise PluginError(
            f"Decoder {name!r} ({owner_of(name)}) failed: {type(error).__name__}: {error}",
            hint=f"{raised_at(error)} Use --debug to show the full traceback.".lstrip(),
        ) from error
    if not _fits(found, len(metas), task):
        raise PluginError(
            f"Decoder {name!r} ({owner_of(name)}) must return {len(metas)} predictions, but returned "
            f"{type(found).__name__} {str(found)[:80]!r}.",
            hint=f"{task.prediction.__name__} (task {task.name!r}), one for each image.",
        )
    if not own:
        _require_well_formed(found, metas, spec, task)
    return found


def _require_well_formed(
    found: Sequence[Predictions], metas: Sequence[ImageMeta], spec: ModelSpec, task: Task[Any]
) -> None:
    """A ``PluginError`` with what is wrong with the first prediction that cannot be used."""
    for index, prediction in enumerate(found):
        malformed = task.malformed(prediction, spec, metas[index].original_size if metas else None)
        if malformed is not None:
            assert spec.decoder is not None
            name = spec.decoder.name
            raise PluginError(
                f"Decoder {name!r} ({owner_of(name)}) returned a malformed {type(prediction).__name__}: {malformed}.",
                hint=f"Correct the decoder; adaptrt.testing.DecoderContract checks it. See {type(prediction).__name__} in the Python API reference.",
            )


def _fits(found: Any, images: int, task: Task[Any]) -> bool:
    """One prediction for each image; without images, one for each sample."""
    if not isinstance(found, (list, Sequence)) or len(found) != (images or len(found)):
        return False
    kind = task.prediction
    for one in found:  # noqa: SIM110 - a generator takes twice as long
        if not isinstance(one, kind):
            return False
    return True


@SpecCache
def _named_by(spec: ModelSpec) -> tuple[Decoder, Any, Task[Any], bool]:
    name, given, distribution = (
        (spec.decoder.name, spec.decoder.params, spec.decoder.distribution) if spec.decoder else ("raw", {}, None)
    )
    return *_resolved(name, distribution, msgspec.json.encode(given)), task_named(spec.task), is_own(name)


@lru_cache(maxsize=32)
def _resolved(name: str, distribution: str | None, params: bytes) -> tuple[Decoder, Any]:
    """Once for the same parameters: some specs are made for a single call."""
    decoder = find_decoder(name, distribution)
    return decoder, fill_options(decoder.params, msgspec.json.decode(params))
