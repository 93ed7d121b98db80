"""Engines: the network on PyTorch, OpenVINO, ONNX Runtime or TensorRT behind one contract."""

from dytrack_ros.engines.base import Engine
from dytrack_ros.engines.fallback import FallbackEngine
from dytrack_ros.engines.registry import ENGINE_PRECISIONS, ENGINES, create_engine

__all__ = ["ENGINES", "ENGINE_PRECISIONS", "Engine", "FallbackEngine", "create_engine"]
