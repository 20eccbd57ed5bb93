"""Holds a graph against the rules that export well to TensorRT, and points at the Python that broke one."""

from adaptrt.graph.lint.check import check_graph, check_reduced
from adaptrt.graph.lint.source_locations import annotate_sources, read_source_locations, source_location_of

__all__ = ["annotate_sources", "check_graph", "check_reduced", "read_source_locations", "source_location_of"]
