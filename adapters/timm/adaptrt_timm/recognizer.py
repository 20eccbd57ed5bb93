"""Recognizes models of timm by name, by the name that a checkpoint or config records, or by the names of its weights."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from adaptrt import Match, SourceFacts
from adaptrt.checkpoint import InertObject

_NAME = re.compile(r"[a-z][a-z0-9_]*")
SWIN_FILE = "swin_transformer.py"
# weights that only one kind of network has
_SWIN_WEIGHT = re.compile(r"(.+\.)?layers\.\d+\.blocks\.\d+\.attn\.relative_position_bias_table")
_WEIGHTS = (
    (re.compile(r"blocks\.\d+\.attn\.qkv\.weight"), "vit_base_patch16_224"),
    (re.compile(r"layer1\.0\.conv1\.weight"), "resnet50"),
    (re.compile(r"stages\.\d+\.blocks\.\d+\.conv_dw\.weight"), "convnext_tiny"),
)


class TimmRecognizer:
    name = "timm"

    def recognize(self, facts: SourceFacts) -> Iterable[Match]:
        if facts.kind == "name":
            return _by_name(facts.source, "a timm model")
        if facts.kind not in ("folder", "checkpoint", "weights"):
            return ()
        for recorded, where in _recorded(facts):
            found = _by_name(recorded, f"{recorded}, {where}")
            if found:
                return found
        return _by_weights(facts)


def _recorded(facts: SourceFacts) -> Iterable[tuple[str, str]]:
    """The names that the source records, and where."""
    architecture = facts.config.get("architecture")
    if isinstance(architecture, str):
        yield architecture, "named in its config.json"
    arch = facts.content.get("arch") if isinstance(facts.content, Mapping) else None
    if isinstance(arch, str):
        yield arch, "named in the checkpoint (arch)"


def _by_name(name: str, reason: str) -> tuple[Match, ...]:
    architecture = name.partition(".")[0]
    file = _defining_file(architecture)
    if file is None:
        return ()
    adapter = "swin" if file == SWIN_FILE else "timm"
    return (Match(adapter=adapter, certainty="exact", reason=reason),)


def _defining_file(name: str) -> str | None:
    """The file of timm that defines a model, read as text: importing timm would take seconds."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None or not _NAME.fullmatch(name):
        return None
    function = f"\ndef {name}(".encode()
    for path in sorted((Path(found.origin).parent / "models").glob("*.py")):
        before, defined, _ = path.read_bytes().partition(function)
        if defined and before.rstrip().endswith(b"@register_model"):
            return path.name
    return None


def _by_weights(facts: SourceFacts) -> Iterable[Match]:
    if isinstance(facts.content, InertObject) and facts.content.path.startswith("timm."):
        return (_likely("timm", f"a pickled {facts.content.path}", "resnet50"),)
    if any(_SWIN_WEIGHT.fullmatch(name) for name in facts.tensors):
        return (_likely("swin", "weights of a Swin Transformer", "swin_tiny_patch4_window7_224"),)
    for pattern, example in _WEIGHTS:
        if any(pattern.search(name) for name in facts.tensors):
            return (_likely("timm", f"weights with names as in {example}", example),)
    return ()


def _likely(adapter: str, reason: str, example: str) -> Match:
    return Match(
        adapter=adapter,
        certainty="likely",
        reason=f"{reason}; the model's name is not recorded",
        arguments=("--set", f"model={example}"),
    )


recognizer = TimmRecognizer()
