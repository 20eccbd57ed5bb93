"""Parts of a graph that get their precision together: nodes of one module, products of activations, single operators."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from adaptrt.graph.grouping import grouped
from adaptrt.graph.model_file import node_name
from adaptrt.graph.work import multiply_adds
from adaptrt.quantization.placement import Placement

SINGLE = ("Softmax", "LayerNormalization")
"""Operators that are measured in int8 as one block each, and never quantized: they would not become faster."""


@dataclass(frozen=True)
class Block:
    """``layers`` are those with an int8 form, ``nodes`` those with a half-precision form, by name.

    ``operations``: multiply-adds of its layers, and an operation for each value that its other nodes give, in one run.
    ``quantizable``: whether int8 can make it faster.
    """

    name: str
    layers: tuple[str, ...]
    nodes: tuple[str, ...]
    operations: float
    quantizable: bool = True


def make_blocks(
    model: ir.Model, placement: Placement, half: Sequence[str], elements: Mapping[str, int], most: int
) -> list[Block]:
    """At most about ``most`` blocks by module, in the order of the graph, then those of attention and of ``SINGLE``.

    ``elements``: the number of elements of each value in one run.
    """
    known = {node_name(node): node for node in model.graph}
    order = {name: index for index, name in enumerate(known)}
    layers = {node_name(layer.node): layer for layer in placement.layers}
    trained = [name for name, layer in layers.items() if layer.axis is not None]
    single = {kind: [name for name in known if known[name].op_type == kind] for kind in SINGLE}
    products = [name for name in layers if name not in trained and known[name].op_type == "MatMul"]
    operations = {name: _operations(node, elements) for name, node in known.items()}

    def total(names: Collection[str]) -> float:
        return float(sum(operations[name] for name in names))

    blocks = []
    chosen, computing = set(trained), set(half)
    for title, names in grouped([name for name in known if name in chosen | computing - set(products)], most).items():
        parts = tuple(name for name in names if name in chosen)
        halves = tuple(name for name in names if name in computing)
        blocks.append(Block(title, parts, halves, total(names), bool(parts)))
    for title, names in grouped(products, max(1, most // 4)).items():
        halves = tuple(name for name in names if name in computing)
        blocks.append(Block(f"attention in {title}" if title else "attention", tuple(names), halves, total(names)))
    blocks.sort(key=lambda block: min(order[name] for name in (*block.layers, *block.nodes)))
    for kind, names in single.items():
        found = tuple(name for name in names if name in layers)
        if found:
            blocks.append(Block(f"every {kind}", found, (), total(found), quantizable=False))
    return blocks


def pattern_of(names: Sequence[str], others: Collection[str], prefix: str = "") -> str:
    """A regular expression that finds exactly these names among all: by the prefix they share, or each by name."""
    if prefix:
        short = f"^{re.escape(prefix)}(/|$)"
        compiled = re.compile(short)
        if all(map(compiled.search, names)) and not any(compiled.search(name) for name in set(others) - set(names)):
            return short
    return f"^({'|'.join(map(re.escape, names))})$"


def _operations(node: ir.Node, elements: Mapping[str, int]) -> float:
    products = multiply_adds(node, elements)
    return float(sum(elements.get(str(value.name), 0) for value in node.outputs)) if products is None else products
