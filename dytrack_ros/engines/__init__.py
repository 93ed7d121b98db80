"""What computes the network: engines behind one contract."""

from dytrack_ros.engines.engine import ENGINE_PRECISIONS, ENGINES, Engine, create_engine
from dytrack_ros.engines.fallback_engine import FallbackEngine

__all__ = ["ENGINE_PRECISIONS", "ENGINES", "Engine", "FallbackEngine", "create_engine"]
