"""Known problems of TensorRT with patterns of operators, as data, and which of them a graph has."""

from adaptrt.graph.known_issues.issues import Issue, known_issues
from adaptrt.graph.known_issues.matching import Platform, matching_issues

__all__ = ["Issue", "Platform", "known_issues", "matching_issues"]
