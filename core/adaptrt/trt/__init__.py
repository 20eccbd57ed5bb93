"""The shared TensorRT backend: the only code that knows TensorRT's versions. Knows no torch, onnx or pydantic."""
