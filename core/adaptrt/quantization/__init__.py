"""int8 graphs: where Q/DQ nodes go, and the ranges that their scales come from."""

from adaptrt.quantization.quantize import Quantized, write_quantized

__all__ = ["Quantized", "write_quantized"]
