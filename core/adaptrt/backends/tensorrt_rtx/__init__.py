"""TensorRT-RTX: engines for GeForce RTX and other GPUs, built without one."""
