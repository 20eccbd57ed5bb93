"""Which adapter a source belongs to: facts read from the source, the result of a recognizer, and how recognizers are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from adaptrt.specs.registry import Registry

SourceKind = Literal["name", "object", "folder", "python", "config", "checkpoint", "weights", "torchscript", "program"]
Certainty = Literal["exact", "likely", "none"]


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What a source contains, read as data: nothing in it was executed or imported.

    ``kind``: a ``name`` (no such file), ``module:attribute`` (``object``), a ``folder``, a ``.py`` file (``python``), a
    JSON or YAML file (``config``), a file of ``torch.save`` (``checkpoint``), safetensors (``weights``), a
    ``torchscript`` file or a ``program`` of torch.export. ``path`` is the file or folder.

    ``content``: the object passed to ``torch.save``, with every object replaced by an ``InertObject`` or ``InertName`` of
    ``adaptrt.checkpoint``, and every tensor by a ``TensorShape``. ``classes``: the dotted names that the checkpoint refers to.
    ``tensors``: shapes of the weights by name. ``config``: the literals of a ``.py`` file by name, or the content of a JSON
    file (for a folder, its ``config.json``; for weights, the JSON file of the same name next to them, or the ``config.json`` next to
    ``model.safetensors``). ``definitions``:
    functions and classes of a ``.py`` file. ``text``: the text of a ``python`` or ``config`` file.
    """

    source: str
    kind: SourceKind
    path: Path | None = None
    content: Any = None
    classes: frozenset[str] = frozenset()
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    definitions: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Match:
    """An adapter, whether the source is one of its models, and the reason in a few words.

    ``exact``: this adapter, and no other of the same distribution. ``likely``: something is missing or ambiguous.
    ``none``: not supported, with the reason. ``arguments`` complete the command that is shown for a likely match
    (``("--set", "model=resnet18")``); ``source`` replaces the source in it.
    """

    adapter: str
    certainty: Certainty
    reason: str
    arguments: tuple[str, ...] = ()
    source: str | None = None


@runtime_checkable
class Recognizer(Protocol):
    """Recognizes the sources of a distribution's adapters; found by name under ``adaptrt.recognizers``.

    Its module must not import the framework. It is called for every source without ``--adapter``, and should return in less
    than 50 ms.
    """

    name: str

    def recognize(self, facts: SourceFacts) -> Iterable[Match]:
        """A match for each adapter that may support the source; empty if it is unknown."""
        ...


RECOGNIZERS: Registry[Recognizer] = Registry("adaptrt.recognizers", "recognizer", Recognizer)
