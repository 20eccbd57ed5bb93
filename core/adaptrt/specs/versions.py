"""Upgrades data from files of earlier versions to the current keys, before it is read."""

from __future__ import annotations

from typing import Any

from adaptrt.specs.decoders import upgrade_params


def upgrade_spec(raw: Any) -> Any:
    """A spec as data; version 1 called ``rank_sensitive`` groups ``jumps``, and had other names for some of
    the decoders' parameters."""
    if not isinstance(raw, dict) or raw.get("version", 1) != 1:
        return raw
    for output in entries(raw, "outputs"):
        for group in entries(output, "groups"):
            rename(group, "jumps", "rank_sensitive")
    decoder = raw.get("decoder")
    if isinstance(decoder, dict) and isinstance(decoder.get("name"), str) and isinstance(decoder.get("params"), dict):
        raw["decoder"] = {**decoder, "params": upgrade_params(decoder["name"], decoder["params"])}
    return {**raw, "version": 2}


def rename(raw: Any, old: str, new: str) -> None:
    """Rename a key of a mapping; an existing entry with the new name is kept."""
    if isinstance(raw, dict) and old in raw and new not in raw:
        raw[new] = raw.pop(old)


def entries(raw: Any, key: str) -> list[Any]:
    """A list in a mapping; empty if either is something else."""
    found = raw.get(key) if isinstance(raw, dict) else None
    return found if isinstance(found, list) else []
