"""Checks requested shapes against the graph."""

from __future__ import annotations

from dataclasses import replace

from adaptrt.errors import ShapeError
from adaptrt.specs import Shape, format_shape

Sizes = tuple[int, ...]


def require_shape(subject: str, name: str, shape: Shape, sizes: Sizes) -> None:
    """Reject a shape that input ``name`` of a graph with these ``sizes`` (-1: dynamic) cannot have; ``subject`` begins the
    message."""
    wanted = format_shape(shape)
    if len(shape) != len(sizes):
        raise ShapeError(
            f"{subject}: {wanted} has {len(shape)} axes, but the graph has {len(sizes)}.",
            hint=f"The graph accepts {_graph_shape(sizes)}.",
        )
    for axis, (dim, size) in enumerate(zip(shape, sizes, strict=True)):
        if size >= 0 and (dim.dynamic or dim.opt != size):
            nearest = format_shape(
                tuple(
                    replace(dim, min=size, opt=size, max=size) if size >= 0 else dim
                    for dim, size in zip(shape, sizes, strict=True)
                )
            )
            raise ShapeError(
                f"{subject}: axis {axis} is fixed at {size} in the graph, not {dim}.",
                hint=f"Use {name}={nearest}, or make the axis dynamic when converting"
                + (" (--set-dynamic-batch for the first axis)." if axis == 0 else "."),
            )


def _graph_shape(sizes: Sizes) -> str:
    return "x".join("?" if size < 0 else str(size) for size in sizes)
