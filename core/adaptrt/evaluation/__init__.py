"""Scores of converted models on labeled images, side by side."""

from adaptrt.evaluation.records import BackendResult, Evaluation
from adaptrt.evaluation.run import evaluate

__all__ = ["BackendResult", "Evaluation", "evaluate"]
