"""Test utilities for adapter authors: the contract tests, and fixtures (``adaptrt.testing.plugin``)."""

from __future__ import annotations

from adaptrt.testing.contract import AdapterContract

__all__ = ["AdapterContract"]
