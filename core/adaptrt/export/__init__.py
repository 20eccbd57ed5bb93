"""Export PyTorch models to ONNX."""
