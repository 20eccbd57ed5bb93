"""Precisions of converted models: one frozen object each."""

from adaptrt.specs.precisions.fp32 import PRECISION as FP32
from adaptrt.specs.precisions.precision import PRECISIONS, Precision, precision_named

__all__ = ["FP32", "PRECISIONS", "Precision", "precision_named"]
