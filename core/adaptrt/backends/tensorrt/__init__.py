"""The shared TensorRT backend: the only code that depends on the TensorRT version."""
