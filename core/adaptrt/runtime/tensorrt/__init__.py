"""TensorRT engines: the full product or its lean and dispatch runtimes, and cuda-python. No torch."""

from adaptrt.runtime.tensorrt.arrays import DeviceArray
from adaptrt.runtime.tensorrt.runner import TensorRTRunner

__all__ = ["DeviceArray", "TensorRTRunner"]
