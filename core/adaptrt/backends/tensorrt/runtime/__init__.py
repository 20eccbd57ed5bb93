"""TensorRT engines: the full product or its lean and dispatch runtimes, and cuda-python. No torch."""

from adaptrt.backends.tensorrt.runtime.arrays import DeviceArray
from adaptrt.backends.tensorrt.runtime.runner import TensorRTRunner

__all__ = ["DeviceArray", "TensorRTRunner"]
