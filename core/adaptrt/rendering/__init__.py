"""Human-readable reports: in the terminal and as a page. Needs neither torch nor onnx."""
