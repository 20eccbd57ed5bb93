"""Decoders: their type, and how they are found by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from adaptrt.errors import ModelError, PluginError, nearest_name
from adaptrt.specs.installed import install_target
from adaptrt.specs.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta, Predictions
    from adaptrt.specs.model import ModelSpec


@dataclass(frozen=True)
class Decoder:
    """Turns raw outputs into predictions, with numpy only. Found by ``name`` under the entry-point group ``adaptrt.decoders``.

    ``params`` is a frozen dataclass whose fields all have defaults: what ``--set`` and the spec may change. Its optional
    ``RENAMED`` (old name to new) makes an old name an error that names the new one; its optional class method
    ``upgrade(params)`` converts the parameters of a version-1 spec to the current ones.

    ``decode(outputs, metas, spec, params)`` gets a whole batch (outputs by name, in the order of ``spec.outputs``) with
    one ``ImageMeta`` for each image, and returns one prediction for each. For detectors it is a ``FromCandidates``
    (``adaptrt.vision.decoders.candidates``), which filters, suppresses and maps to the image.

    ``task`` names the task of these predictions; it may be omitted for a ``FromCandidates`` (``detect``) and for
    ``values``. An adapter that takes any decoder by name gets the task from it.

    ``problems(outputs, metas, spec)`` returns problems of a batch, such as NMS that did not converge; ``predict`` shows them as
    warnings.
    """

    name: str
    params: type[Any]
    decode: Callable[[Mapping[str, NDArray[Any]], Sequence[ImageMeta], ModelSpec, Any], Sequence[Predictions]]
    task: str = ""
    problems: Callable[[Mapping[str, NDArray[Any]], Sequence[ImageMeta], ModelSpec], Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.params, type) and is_dataclass(self.params)):
            raise TypeError(f"Decoder.params must be a dataclass type; got {self.params!r:.60}.")
        required = [
            field.name for field in fields(self.params) if field.default is MISSING and field.default_factory is MISSING
        ]
        if required:
            raise TypeError(f"Each parameter of a decoder needs a default; {', '.join(required)} has none.")
        if not callable(self.decode):
            raise TypeError(f"Decoder.decode must be a function; got {type(self.decode).__name__}.")

    @property
    def predicts(self) -> str:
        """The task whose predictions it returns: its own ``task``, that of its ``decode``, else ``values``."""
        return self.task or getattr(self.decode, "task", "") or "values"


DECODERS: Registry[Decoder] = Registry("adaptrt.decoders", "decoder", Decoder)

# for specs of version 1, which do not record the distribution of their decoder
_KNOWN_DISTRIBUTIONS = {"dense": "adaptrt-mmdet", "queries": "adaptrt-mmdet"}
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


def decoder_names() -> list[str]:
    """Every name that ``find_decoder`` knows, sorted."""
    return DECODERS.names()


def another_decoder() -> str:
    """The hint where a decoder does not fit."""
    return f"Choose another decoder. Available: {', '.join(decoder_names())}."


def find_decoder(name: str, distribution: str | None = None) -> Decoder:
    """The decoder with this name; a ``PluginError`` if there is none, or more than one distribution claims it.

    ``distribution`` is the one recorded in the file: the error names it if the decoder is missing.
    """
    if name not in DECODERS:
        package = distribution or _KNOWN_DISTRIBUTIONS.get(name)
        if package and _DISTRIBUTION.fullmatch(package):
            target = install_target(package)
            hint = f"{package} provides it; for prediction, pip install --no-deps {target} is sufficient."
        else:
            near = nearest_name(name, decoder_names()) or "Install the distribution that provides it."
            hint = f"{near} Available: {', '.join(decoder_names())}."
        raise PluginError(f"Unknown decoder {name!r}.", hint=hint)
    return DECODERS.find(name)


def decoder_of(spec: ModelSpec) -> Decoder:
    """The decoder that a spec names; ``raw`` if it names none."""
    return find_decoder(spec.decoder.name, spec.decoder.distribution) if spec.decoder else find_decoder("raw")


def owner_of(name: str) -> str:
    """The distribution that a decoder comes from, with its version."""
    return DECODERS.distribution(name)


def is_own(name: str) -> bool:
    """Whether it is one of core's."""
    return owner_of(name).partition(" ")[0] == "adaptrt"


def upgrade_params(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a version-1 spec with their current names; unchanged if the decoder is not installed."""
    try:
        upgrade = getattr(find_decoder(name).params, "upgrade", None)
    except PluginError:
        return given
    try:
        return given if upgrade is None else dict(upgrade(given))
    except (TypeError, ValueError) as error:
        raise ModelError(f"The parameters of decoder {name!r} are of the wrong type: {error}.") from error
