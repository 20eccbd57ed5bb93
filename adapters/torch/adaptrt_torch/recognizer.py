"""Recognizes ``module:attribute``, ``file.py:attribute``, TorchScript and exported programs."""

from __future__ import annotations

from collections.abc import Iterable

from adaptrt import Match, SourceFacts
from adaptrt.checkpoint import InertObject

_PROGRAMS = {"torchscript": "a TorchScript file", "program": "an exported program (torch.export)"}
MAX_NAMES = 5


class TorchRecognizer:
    name = "torch"

    def recognize(self, facts: SourceFacts) -> Iterable[Match]:
        if facts.kind in _PROGRAMS:
            return (Match(adapter="torch", certainty="exact", reason=_PROGRAMS[facts.kind]),)
        if facts.kind == "object":
            return (Match(adapter="torch", certainty="exact", reason="an object in Python code"),)
        if facts.kind == "python" and not isinstance(facts.config.get("model"), dict):
            return [
                Match(
                    adapter="torch",
                    certainty="likely",
                    reason=f"{name} is defined in this file",
                    source=f"{facts.source}:{name}",
                )
                for name in facts.definitions[:MAX_NAMES]
            ]
        if facts.tensors:
            return (_weights(facts, "a state dict without its network: specify that as module:attribute or file.py:attribute"),)  # fmt: skip
        if isinstance(facts.content, InertObject) and facts.content.mapping("_modules"):
            path = facts.content.path
            return (_weights(facts, f"a pickled {path}: specify its class as module:attribute or file.py:attribute"),)
        return ()


def _weights(facts: SourceFacts, reason: str) -> Match:
    return Match(
        adapter="torch",
        certainty="likely",
        reason=reason,
        source="module:attribute",
        arguments=("--weights", facts.source),
    )


recognizer = TorchRecognizer()
