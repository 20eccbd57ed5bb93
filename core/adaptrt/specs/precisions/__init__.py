"""How precise a converted model is: one frozen object for each precision."""

from adaptrt.specs.precisions.fp32 import PRECISION as FP32
from adaptrt.specs.precisions.precision import PRECISIONS, Precision, precision_named

__all__ = ["FP32", "PRECISIONS", "Precision", "precision_named"]
