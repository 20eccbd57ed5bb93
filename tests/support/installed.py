"""Which distributions are here, read from their metadata.

``pytest.importorskip("pip")``, and ``find_spec`` too, would make setuptools impossible to import in this process
(Python 3.11 and older): its finder takes pip's coming as a sign that the interpreter's own distutils is wanted.
"""

from __future__ import annotations

from importlib import metadata

import pytest


def require_distributions(*names: str, reason: str) -> None:
    """Skip the test, or the module of tests, where one of them is not installed; for what only child processes import."""
    for name in names:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed: {reason}", allow_module_level=True)
