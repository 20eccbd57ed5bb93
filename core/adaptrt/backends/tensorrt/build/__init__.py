"""ONNX file to engine, in a separate process."""
