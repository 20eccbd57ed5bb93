"""Checks a graph against the rules for TensorRT export, and locates the Python code that breaks one."""

from adaptrt.graph.lint.check import check_graph, check_reduced
from adaptrt.graph.lint.source_locations import annotate_sources, read_source_locations, source_location_of

__all__ = ["annotate_sources", "check_graph", "check_reduced", "read_source_locations", "source_location_of"]
