"""int8 graphs: where Q/DQ nodes go, and the ranges that their scales come from."""

from adaptrt.quantization.quantize import Calibrated, Quantized, calibrate, write_quantized

__all__ = ["Calibrated", "Quantized", "calibrate", "write_quantized"]
