"""What computes the network: engines behind one contract."""

from dytrack_ros.engines.engine import ENGINES, Engine, create_engine
from dytrack_ros.engines.fallback_engine import FallbackEngine

__all__ = ["ENGINES", "Engine", "FallbackEngine", "create_engine"]
