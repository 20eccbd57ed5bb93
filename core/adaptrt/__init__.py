"""adaptrt turns PyTorch vision models into verified ONNX files and TensorRT engines.

``convert``, ``build`` and ``load`` are the main functions; the other names are for adapters and extensions. Importing this
package does not import torch, onnx, onnxruntime, tensorrt or OpenCV.
"""

from __future__ import annotations

import os

import lazy_loader

# ONNX Runtime reads this when it is loaded: nothing is sent, and no .ses file stays in the temporary folder
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# the names of __init__.pyi, each imported when it is first used
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
