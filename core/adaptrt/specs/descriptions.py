"""The description of a model file of any kind."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from adaptrt.json_text import json_text

if TYPE_CHECKING:
    from adaptrt.specs import ModelSpec


@dataclass(frozen=True)
class Tensor:
    """An input or output; symbolic axes by name, ``?`` where an axis has none."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class Node:
    """A node of the graph, or a layer of an engine."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class Description:
    """A model file as text and numbers. ``facts`` are single lines by title; ``tables`` further ones by title, header first."""

    path: str
    kind: str
    bytes: int
    facts: dict[str, str] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    operators: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    spec: ModelSpec | None = None
    nodes: list[Node] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """All fields as JSON; the spec as stored in files, and nodes only if requested."""
        spec: Any = json.loads(self.spec.to_json()) if self.spec is not None else None
        content = {"version": 1, **asdict(self), "spec": spec}
        for name in ("nodes", "tables"):
            if not content[name]:
                del content[name]
        return json_text(content, indent=2)
