"""Exit policies: when a frame stops. Pure Python."""

from dytrack_ros.policies.exit_policy import (
    ExitCosts,
    ExitPolicy,
    ExitReason,
    ExitTrace,
    FixedExit,
    FixedThresholds,
    RandomExit,
    default_thresholds,
)
from dytrack_ros.policies.frame_budget import BudgetState, FrameBudget

__all__ = [
    "BudgetState",
    "ExitCosts",
    "ExitPolicy",
    "ExitReason",
    "ExitTrace",
    "FixedExit",
    "FixedThresholds",
    "FrameBudget",
    "RandomExit",
    "default_thresholds",
]
