"""A description on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.table import Table
from rich.text import Text

from adaptrt.quantities import file_size
from adaptrt.rendering.formatting import describe_decoder, describe_transform
from adaptrt.specs import format_shape

if TYPE_CHECKING:
    from rich.console import Console

    from adaptrt.specs import ModelSpec
    from adaptrt.specs.descriptions import Description, Node, Tensor

_LONG = 160


def print_description(console: Console, description: Description, *, every: bool = False) -> None:
    """Print the sections, the most important first; long metadata is truncated unless ``every``."""
    console.print(Text.assemble((description.path, "bold"), f"  {description.kind}, {file_size(description.bytes)}"))
    _pairs(console, "", description.facts)
    if description.spec is not None:
        _pairs(console, "Spec", _spec_pairs(description.spec))
    elif not description.warnings:
        console.print(Text("\nNo adaptrt spec: another tool wrote this file.", style="dim"))
    _tensors(console, "Inputs", description.inputs)
    _tensors(console, "Outputs", description.outputs)
    for title, rows in description.tables.items():
        _title(console, title)
        table = Table(*rows[0], box=None, pad_edge=False, header_style="dim")
        for row in rows[1:]:
            table.add_row(*map(Text, row))
        console.print(table)
    if description.operators:
        _title(console, f"Operators ({sum(description.operators.values())})")
        console.print(
            Columns([Text(f"{name} {count}") for name, count in description.operators.items()], padding=(0, 3))
        )
    if description.metadata:
        cut = {key: value if every else _cut(value) for key, value in description.metadata.items()}
        _pairs(console, "Metadata", cut)
    for warning in description.warnings:
        console.print(Text(f"Warning: {warning}", style="yellow"))


def node_lines(nodes: Sequence[Node]) -> Iterator[str]:
    """A line for each node: name, operator, inputs ``->`` outputs; names aligned."""
    name_width = min(max((len(node.name) for node in nodes), default=0), 60)
    operator_width = max((len(node.operator) for node in nodes), default=0)
    for node in nodes:
        inputs = ", ".join(name or "-" for name in node.inputs) or "-"
        yield f"{node.name:<{name_width}}  {node.operator:<{operator_width}}  {inputs} -> {', '.join(node.outputs)}"


def _spec_pairs(spec: ModelSpec) -> dict[str, str]:
    pairs: dict[str, str] = {"task": spec.task}
    for tensor in spec.inputs:
        pairs[f"input {tensor.name}"] = " and ".join(map(format_shape, tensor.profiles))
    if spec.image is not None:
        pairs["images"] = describe_transform(spec.image, spec.image_size)
    if spec.decoder is not None:
        pairs["decoder"] = describe_decoder(spec.decoder)
    if spec.labels:
        pairs[f"labels ({len(spec.labels)})"] = _cut(", ".join(spec.labels))
    if spec.adapter:
        pairs["adapter"] = spec.adapter
    return pairs


def _tensors(console: Console, title: str, tensors: Sequence[Tensor]) -> None:
    shapes = {
        tensor.name: f"{tensor.dtype} {'of any shape' if tensor.shape is None else ' x '.join(map(str, tensor.shape)) or 'scalar'}"
        for tensor in tensors
    }
    _pairs(console, title, shapes)


def _pairs(console: Console, title: str, pairs: dict[str, str]) -> None:
    if not pairs:
        return
    if title:
        _title(console, title)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in pairs.items():
        table.add_row(Text(key), Text(value))
    console.print(table)


def _title(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG].rstrip()} ... ({len(text)} characters, -v shows all)"
