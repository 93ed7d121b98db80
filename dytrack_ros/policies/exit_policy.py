"""Exit policies: decide after each exit but the last whether a frame stops there or runs the next stage.

The last exit always answers. :class:`FixedThresholds` is the paper's rule; :class:`FixedExit` and :class:`RandomExit`
are its baselines (Table III).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from dytrack_ros.policies.calibration import Calibration

DEFAULT_THRESHOLDS = (0.74, 0.70)
"""tau_1 and tau_2 from the calibration of `dytrack_small`: nearly every frame takes exit 2."""


class ExitReason(Enum):
    """Why a frame stopped at its exit. The values are those of ``dytrack_ros/TrackStatus.decided_by``."""

    QUALITY = 0  # the score exceeds the asked threshold
    BUDGET = 1  # the score exceeds the threshold that the budget has lowered
    DEADLINE = 2  # the next stage would have ended after the deadline
    LAST_EXIT = 3  # the last exit always answers


@dataclass(frozen=True)
class ExitTrace:
    """What a policy learns from one frame.

    Attributes:
        exit_index: the exit taken, 1-based.
        exit_scores: the predicted IoU in [0, 1] of each exit reached.
        stage_seconds: the time of each stage run, its decisioner included.
        seconds: the whole ``track`` call.
    """

    exit_index: int
    exit_scores: tuple[float, ...]
    stage_seconds: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class ExitCosts:
    """Seconds of every stage (the k-th with its decisioner) and of one box head, on an otherwise idle machine.

    Raises ValueError unless all are positive and finite.
    """

    stages: tuple[float, ...]
    head: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(float(seconds) for seconds in self.stages))
        if not self.stages or not all(math.isfinite(s) and s > 0 for s in (*self.stages, self.head)):
            raise ValueError(f"stage costs {self.stages} and head cost {self.head} must be positive seconds")

    @property
    def exit_count(self) -> int:
        return len(self.stages)

    def reach(self, exit_index: int) -> float:
        """Seconds until the score of exit ``exit_index`` (1-based) is known; 0 for 0."""
        return sum(self.stages[:exit_index])

    def answer(self, exit_index: int) -> float:
        """c_k: seconds of a frame that stops at exit ``exit_index`` (1-based)."""
        return self.reach(exit_index) + self.head

    @property
    def answers(self) -> tuple[float, ...]:
        """c_1 ... c_K."""
        return tuple(self.answer(exit_index) for exit_index in range(1, self.exit_count + 1))


class ExitPolicy:
    """Base class of all exit policies. A subclass must define :meth:`should_exit`; the other hooks do nothing.

    One policy object belongs to one tracker.
    """

    needs_costs: bool = False
    """Whether the tracker measures the exit costs (one second, once for each engine) and calls :meth:`on_engine`."""

    @property
    def thresholds_in_force(self) -> tuple[float, ...]:
        """The scores that the exits but the last must exceed in the next frame; empty if scores do not decide."""
        return ()

    @property
    def reason(self) -> ExitReason:
        """Why the last frame stopped, if it was not at the last exit."""
        return ExitReason.QUALITY

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        """Return whether the frame stops at exit ``exit_index`` (1-based, never the last).

        ``score`` is the exit's predicted IoU in [0, 1], ``elapsed_s`` the seconds since ``track`` was called.
        """
        raise NotImplementedError

    def observe(self, trace: ExitTrace) -> None:
        """Learn from a finished frame."""

    def on_new_target(self) -> None:
        """Reset per-target state. Called after ``initialize`` and when a tracker takes this policy over."""

    def on_engine(self, costs: ExitCosts, calibration: Calibration | None) -> None:
        """Take the exit costs on this machine and the calibration of the weights (None: there is none).

        Called only if :attr:`needs_costs`: when a tracker takes this policy over and after a change of the engine.
        """


class FixedThresholds(ExitPolicy):
    """The paper's rule, ``k = min{k : s_k > tau_k}`` (Section III-B).

    ``thresholds`` holds tau_k in [0, 1] for every exit but the last. An exit with threshold 1 is never taken, since no
    score exceeds 1. ``thresholds`` may be assigned between two frames. Raises ValueError for values out of range.
    """

    def __init__(self, thresholds: Sequence[float]):
        self.thresholds = thresholds

    @property
    def thresholds(self) -> tuple[float, ...]:
        """tau_1 ... tau_{K-1} as given."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Sequence[float]) -> None:
        values = tuple(float(value) for value in thresholds)
        for number, value in enumerate(values, start=1):
            if not 0 <= value <= 1:
                raise ValueError(f"threshold tau_{number} is {value}; it must lie in [0, 1] (1 = never exit there)")
        self._thresholds = values

    @property
    def thresholds_in_force(self) -> tuple[float, ...]:
        return self.thresholds

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        if exit_index > len(self.thresholds):
            raise ValueError(f"exit {exit_index} has no threshold: only {len(self.thresholds)} were given")
        return score > self.thresholds[exit_index - 1]

    def __repr__(self) -> str:
        return f"FixedThresholds({self.thresholds})"


class FixedExit(ExitPolicy):
    """Always exit ``exit_index`` (1-based); an index beyond the last exit means the last."""

    def __init__(self, exit_index: int):
        if exit_index < 1:
            raise ValueError(f"exit_index is {exit_index}; it must be at least 1, the first exit")
        self.exit_index = int(exit_index)

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        return exit_index >= self.exit_index

    def __repr__(self) -> str:
        return f"FixedExit({self.exit_index})"


class RandomExit(ExitPolicy):
    """A random exit every frame: the baseline that learned scores must beat (Table III).

    ``probabilities`` holds one value for each exit, the last included. They must not be negative and sum to 1, else
    ValueError. The default is uniform over three exits.
    """

    def __init__(self, probabilities: Sequence[float] = (1 / 3, 1 / 3, 1 / 3), seed: int = 0):
        self.probabilities = tuple(float(value) for value in probabilities)
        if not all(value >= 0 for value in self.probabilities) or not abs(sum(self.probabilities) - 1) <= 1e-6:
            raise ValueError(f"probabilities {self.probabilities} must be non-negative and sum to 1")
        self._random = random.Random(seed)

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        remaining = sum(self.probabilities[exit_index - 1 :])
        return remaining <= 0 or self._random.random() < self.probabilities[exit_index - 1] / remaining

    def __repr__(self) -> str:
        return f"RandomExit({self.probabilities})"


def default_thresholds(exit_count: int) -> tuple[float, ...]:
    """Return :data:`DEFAULT_THRESHOLDS` for ``exit_count`` exits; the last value is repeated for further exits."""
    last = len(DEFAULT_THRESHOLDS) - 1
    return tuple(DEFAULT_THRESHOLDS[min(position, last)] for position in range(exit_count - 1))
