"""When to leave the network: exit policies. Pure Python."""

from dytrack_ros.budget.exit_policy import ExitPolicy, FixedExit, FixedThresholds, LearningPolicy, RandomExit
from dytrack_ros.budget.frame_budget import BudgetState, FrameBudget
from dytrack_ros.budget.latency_model import ExitCosts

__all__ = [
    "BudgetState",
    "ExitCosts",
    "ExitPolicy",
    "FixedExit",
    "FixedThresholds",
    "FrameBudget",
    "LearningPolicy",
    "RandomExit",
]
