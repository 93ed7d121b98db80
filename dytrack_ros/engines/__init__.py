"""What computes the network: engines behind one contract."""

from dytrack_ros.engines.engine import ENGINES, Engine, create_engine

__all__ = ["ENGINES", "Engine", "create_engine"]
