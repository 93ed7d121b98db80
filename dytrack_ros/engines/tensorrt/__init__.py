"""The TensorRT engine (experimental, opt-in)."""
