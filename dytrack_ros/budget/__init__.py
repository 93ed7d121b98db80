"""When to leave the network: exit policies. Pure Python."""

from dytrack_ros.budget.exit_policy import (
    ComparingPolicy,
    ExitPolicy,
    FixedExit,
    FixedThresholds,
    LearningPolicy,
    RandomExit,
    TargetPolicy,
)
from dytrack_ros.budget.exit_trust import ExitTrust
from dytrack_ros.budget.frame_budget import BudgetState, FrameBudget
from dytrack_ros.budget.latency_model import ExitCosts

__all__ = [
    "BudgetState",
    "ComparingPolicy",
    "ExitCosts",
    "ExitPolicy",
    "ExitTrust",
    "FixedExit",
    "FixedThresholds",
    "FrameBudget",
    "LearningPolicy",
    "RandomExit",
    "TargetPolicy",
]
