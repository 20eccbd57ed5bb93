"""Errors in the words of a request, which has parameters, and neither options nor commands."""

from __future__ import annotations

import re

from adaptrt.pipeline.python_words import COMMAND, OPTION, PAIR

_BETWEEN_SENTENCES = re.compile(r"(?<=[.;?!])\s+|\n")


def in_request(text: str) -> str:
    """``--set conf=0.5`` as ``conf=0.5``, as it is in the URL."""
    return PAIR.sub(_parameter, text)


def request_hint(hint: str | None) -> str:
    """A hint in the words of a request, without the sentences that only the operator of the server can follow; may be empty."""
    sentences = map(in_request, _BETWEEN_SENTENCES.split(hint or ""))
    return " ".join(one for one in sentences if not OPTION.search(one) and not COMMAND.search(one))


def _parameter(match: re.Match[str]) -> str:
    key, value = match["key"], match["value"]
    return key if value is None else f"{key}={_unquoted(value)}"


def _unquoted(value: str) -> str:
    return value[1:-1] if value[:1] == value[-1:] == "'" and len(value) > 1 else value
