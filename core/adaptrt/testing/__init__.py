"""What adapter authors test with: the contract that every adapter keeps, and fixtures (``adaptrt.testing.plugin``)."""

from __future__ import annotations

from adaptrt.testing.contract import AdapterContract

__all__ = ["AdapterContract"]
