"""The issues of ``known_issues.toml``, read and checked."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field
from pathlib import Path

from packaging.specifiers import SpecifierSet

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_TITLES = {"tensorrt": "TensorRT", "rtx": "TensorRT-RTX"}


@dataclass(frozen=True, kw_only=True)
class Issue:
    """A pattern of operators, where it is a problem, what happens, what to do, and the public thread.

    The fields are described in ``known_issues.toml``.
    """

    name: str
    chain: tuple[str, ...]
    symptom: str
    advice: str
    source: str
    tensorrt: str
    product: str = "tensorrt"
    attributes: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    reads: str = ""
    count: int = 1
    opset: str = ""
    precision: tuple[str, ...] = ()
    capability: tuple[str, ...] = ()

    @property
    def versions(self) -> SpecifierSet:
        return SpecifierSet(self.tensorrt, prereleases=True)

    @property
    def where(self) -> str:
        """The product with its versions."""
        return f"{_TITLES[self.product]} {self.tensorrt or '(versions not named)'}"

    @property
    def fixed(self) -> str:
        """The version that is known to be free of it; else that none is known."""
        ends = [part.strip().removeprefix("<") for part in self.tensorrt.split(",") if part.strip().startswith("<")]
        return f"fixed in {ends[0]}" if ends else "not known to be fixed"

    @property
    def text(self) -> str:
        """One line for messages."""
        return f"{self.symptom} {self.where}, {self.fixed}."


@functools.cache
def known_issues() -> tuple[Issue, ...]:
    import msgspec

    content = tomllib.loads(Path(__file__).with_name("known_issues.toml").read_text(encoding="utf-8"))
    return tuple(msgspec.convert(content["issue"], list[Issue]))
