"""TensorRT (opt-in)."""
