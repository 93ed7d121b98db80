"""When to leave the network: exit policies. Pure Python."""

from dytrack_ros.policies.exit_policy import (
    ComparingPolicy,
    ExitPolicy,
    FixedExit,
    FixedThresholds,
    LearningPolicy,
    RandomExit,
    TargetPolicy,
)
from dytrack_ros.policies.exit_trust import ExitTrust
from dytrack_ros.policies.frame_budget import BudgetState, FrameBudget
from dytrack_ros.policies.latency_model import ExitCosts

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
