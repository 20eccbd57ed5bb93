"""Holds a graph against the rules that export well to TensorRT, and points at the Python that broke one."""

from adaptrt.graph.lint.check import check_graph, check_typed
from adaptrt.graph.lint.places import keep_places, place_of, read_places

__all__ = ["check_graph", "check_typed", "keep_places", "place_of", "read_places"]
