"""When to leave the network: exit policies. Pure Python."""

from dytrack_ros.budget.exit_policy import ExitPolicy, FixedExit, FixedThresholds, RandomExit

__all__ = ["ExitPolicy", "FixedExit", "FixedThresholds", "RandomExit"]
