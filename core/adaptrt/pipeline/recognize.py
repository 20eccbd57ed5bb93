"""Chooses the adapter of a source, if none is named, and names the right one for a wrong one.

The source is read as data, and the installed recognizers are called.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptrt.checkpoint.source_facts import read_facts
from adaptrt.errors import AdaptrtError, ModelError, PluginError, UsageError, printable
from adaptrt.plugins.catalog import read_catalog
from adaptrt.plugins.discovery import ADAPTERS, find_candidates
from adaptrt.quantities import listed
from adaptrt.specs.installed import install_target
from adaptrt.specs.recognizers import RECOGNIZERS, Match, SourceFacts
from adaptrt.specs.registry import declared_names

if TYPE_CHECKING:
    from torch import nn

    from adaptrt.plugins.facade import Hooks
    from adaptrt.request import Conversion


# what every checkpoint may refer to
_PLAIN = ("torch.", "collections.", "numpy.", "_codecs.", "builtins.set", "builtins.frozenset", "builtins.bytearray")


@dataclass(frozen=True)
class Recognition:
    """The adapter that was chosen, and warnings about recognizers that do not work."""

    match: Match
    warnings: tuple[str, ...] = ()


def recognize(source: str, words: Sequence[str] = ()) -> Recognition:
    """The one adapter that recognizes the source exactly.

    Otherwise a ``UsageError`` lists the candidates, each with its command; ``words`` are the arguments of the user's
    own command, which it repeats. A source that is missing or damaged is a ``ModelError``.
    """
    facts = read_facts(source)
    matches, warnings = matches_for(facts)
    exact = [match for match in matches if match.certainty == "exact"]
    if len(exact) == 1:
        return Recognition(exact[0], tuple(warnings))
    error = _undecided(facts, matches, exact, tuple(words) or (source,))
    if warnings:
        error.hint = "\n".join([error.hint or "", *warnings]).strip()
    raise error


def load_model(hooks: Hooks, ctx: Conversion) -> nn.Module:
    """The adapter's model; if it rejects a source that another adapter recognizes, the error names that one."""
    try:
        return hooks.load_model(ctx)
    except (ModelError, UsageError) as error:
        other = recognized_by_another(ctx.request.source, ctx.request.adapter)
        if other is not None:
            error.hint = f"{_named(ctx.request.source, other)} {error.hint or ''}".rstrip()
        raise


def wrong_adapter(source: str, adapter: str) -> str | None:
    """A warning about a source that belongs to an adapter of another distribution; without loading it."""
    other = recognized_by_another(source, adapter)
    if other is None:
        return None
    owners = {one.name: one.distribution for one in find_candidates(ADAPTERS)}
    return None if owners.get(other.adapter) == owners.get(adapter) else _named(source, other)


def recognized_by_another(source: str, adapter: str) -> Match | None:
    """The one exact match of a source that this adapter does not recognize; ``None`` if it cannot be read."""
    try:
        matches, _ = matches_for(read_facts(source))
    except AdaptrtError:
        return None
    exact = [match for match in matches if match.certainty == "exact"]
    supported = any(match.adapter == adapter and match.certainty != "none" for match in matches)
    return exact[0] if len(exact) == 1 and not supported and exact[0].adapter != adapter else None


def _named(source: str, match: Match) -> str:
    return (
        f"{printable(source)} is a model of adapter {match.adapter} ({printable(match.reason)}): "
        f"use --adapter {match.adapter}."
    )


def matches_for(facts: SourceFacts) -> tuple[list[Match], list[str]]:
    """The results of all recognizers, and a warning for each that cannot be loaded, fails or returns an invalid result."""
    adapters = set(declared_names(ADAPTERS))
    matches: list[Match] = []
    warnings: list[str] = []
    for name in RECOGNIZERS.names():
        try:
            found = list(RECOGNIZERS.find(name).recognize(facts))
            for match in found:
                _require_match(match, adapters)
        except PluginError as error:
            warnings.append(f"Skipping the recognizer {name!r}: {error.message}")
        except Exception as error:  # a plugin's code can raise anything
            owner = RECOGNIZERS.distribution(name)
            warnings.append(f"Skipping the recognizer {name!r} of {owner}: {type(error).__name__}: {error}.")
        else:
            matches.extend(found)
    return sorted(matches, key=lambda match: match.adapter), warnings


def _require_match(match: object, adapters: set[str]) -> None:
    if not isinstance(match, Match) or match.certainty not in ("exact", "likely", "none"):
        raise PluginError(f"It returned {match!r}; expected a Match.")
    if match.adapter not in adapters:
        raise PluginError(f"It names the adapter {match.adapter!r}, which is not installed.")


def _undecided(facts: SourceFacts, matches: list[Match], exact: list[Match], words: tuple[str, ...]) -> AdaptrtError:
    source = printable(facts.source)
    candidates = exact or [match for match in matches if match.certainty == "likely"]
    if exact:
        message = f"{len(exact)} adapters recognize {source}."
    elif candidates:
        message = f"No adapter recognizes {source} with certainty."
    else:
        return _unknown(facts, matches)
    lines = [f"  {_command(facts, match, words)}\n    {printable(match.reason)}" for match in candidates]
    return UsageError(message, hint="\n".join(["Choose one:", *lines]))


def _command(facts: SourceFacts, match: Match, words: tuple[str, ...]) -> str:
    """The user's command with the adapter, and with what is missing."""
    given = list(words)
    if match.source is not None and facts.source in given:
        given[given.index(facts.source)] = match.source
    return printable(shlex.join(["adaptrt", "convert", "--adapter", match.adapter, *given, *match.arguments]))


def _unknown(facts: SourceFacts, matches: list[Match]) -> AdaptrtError:
    source = printable(facts.source)
    reasons = [f"{match.adapter}: {printable(match.reason)}." for match in matches if match.certainty == "none"]
    missing = _not_installed(facts)
    if missing:
        hint = "\n".join(f"pip install {install_target(distribution)}" for distribution in missing)
        return UsageError(f"{source} belongs to a framework whose adapter is not installed.", hint=hint)
    installed = declared_names(ADAPTERS)
    if not installed:
        return UsageError(
            "No adapter is given, and none is installed.",
            hint="To list all available adapters: adaptrt adapters --all",
        )
    what = "No such file, and no" if facts.kind == "name" else "No"
    own = sorted(name for name in facts.classes if not name.startswith(_PLAIN))
    more = f", which refers to other code: {printable(listed(own))}" if own else ""
    return UsageError(
        " ".join([f"{what} installed adapter recognizes {source}{more}.", *reasons]),
        hint=f"Specify it with --adapter; installed: {', '.join(installed)}.",
    )


def _not_installed(facts: SourceFacts) -> list[str]:
    """Distributions of the catalog, not installed here, whose framework's classes the checkpoint refers to."""
    packages = {name.partition(".")[0] for name in facts.classes} - {"torch"}
    installed = {candidate.distribution for candidate in find_candidates(ADAPTERS)}
    wanted: Mapping[str, str] = {
        entry.distribution: entry.framework.partition(">")[0].partition("=")[0].strip()
        for entry in read_catalog().values()
    }
    return sorted(name for name, framework in wanted.items() if framework in packages and name not in installed)
