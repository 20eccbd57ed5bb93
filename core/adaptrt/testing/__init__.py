"""Test utilities for plugin authors: the contracts of adapters, extensions, backends and decoders, and fixtures
(``adaptrt.testing.plugin``)."""

from __future__ import annotations

from adaptrt.testing.backends import BackendContract
from adaptrt.testing.contract import AdapterContract
from adaptrt.testing.decoders import DecoderContract
from adaptrt.testing.extensions import ExtensionContract

__all__ = ["AdapterContract", "BackendContract", "DecoderContract", "ExtensionContract"]
