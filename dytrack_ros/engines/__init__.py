"""What computes the network: engines behind one contract."""

from dytrack_ros.engines.fallback import FallbackEngine
from dytrack_ros.engines.registry import ENGINE_PRECISIONS, ENGINES, Engine, create_engine

__all__ = ["ENGINE_PRECISIONS", "ENGINES", "Engine", "FallbackEngine", "create_engine"]
