"""Applying patches: scoped, versioned, counted, restored."""

from adaptrt.patching.apply import applied, require_called

__all__ = ["applied", "require_called"]
