"""The shared TensorRT backend: the only code that knows its versions."""
