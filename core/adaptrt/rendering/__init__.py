"""Reports for people: in the terminal and as a page. Needs neither torch nor onnx."""
