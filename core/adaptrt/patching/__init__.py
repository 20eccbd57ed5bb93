"""Applying patches: scoped, versioned, counted, restored."""

from adaptrt.patching.apply import applied, require_called, warn_untested

__all__ = ["applied", "require_called", "warn_untested"]
