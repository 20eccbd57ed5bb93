"""OpenVINO as a backend of adaptrt: ``adaptrt convert ... --to onnx,openvino``."""
