"""Exit policies: after each exit but the last, does this frame go deeper? The last exit always answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dytrack_ros.policies.exit_trust import ExitTrust

if TYPE_CHECKING:
    from dytrack_ros.policies.calibration import Calibration
    from dytrack_ros.policies.latency_model import ExitCosts
    from dytrack_ros.tracking.tracker import TrackResult


class ExitPolicy(Protocol):
    """Asked after every exit but the last, told the result of every frame."""

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        """Whether to answer with exit ``exit_index`` (1-based), whose predicted IoU is ``score`` in [0, 1],
        ``elapsed_s`` seconds after the frame's tracking began."""
        ...

    def observe(self, result: TrackResult) -> None:
        """Learns what a frame took and gave."""
        ...


@runtime_checkable
class TargetPolicy(ExitPolicy, Protocol):
    """A policy that wants to know when the target changes."""

    def restart(self) -> None:
        """The next frame is the first of a new target, or the last ones were another policy's."""
        ...


@runtime_checkable
class ComparingPolicy(TargetPolicy, Protocol):
    """A policy that learns from how the boxes of the exits before agree with the answer (``TrackResult.agreements``)."""

    @property
    def compares_exits(self) -> bool:
        """Whether it wants to know now: it takes the time of those exits' box heads."""
        ...


@runtime_checkable
class LearningPolicy(TargetPolicy, Protocol):
    """A policy that wants to know the machine and the weights, too."""

    @property
    def is_prepared(self) -> bool:
        """Whether :meth:`prepare` is not needed any more."""
        ...

    def prepare(self, costs: ExitCosts, calibration: Calibration | None, note: str) -> None:
        """Takes what every exit costs on this machine and the weights' calibration; ``note`` says which, or why none."""
        ...

    def forget_costs(self) -> None:
        """Another engine computes now: what was known of times is void, and :meth:`prepare` is needed again."""
        ...


class _Memoryless:
    """A policy that takes nothing from past frames."""

    def observe(self, result: TrackResult) -> None:
        pass


class FixedThresholds:
    """The paper's rule, ``k = min{k : s_k > tau_k}`` (Section III-B).

    ``thresholds`` holds tau_k in [0, 1] for every exit but the last. With 1 an exit is never taken, since a score
    does not exceed 1. Raises ValueError for values outside the range. With ``trust`` (beyond the paper) they are shifted by
    what the present target has shown of the exits.
    """

    def __init__(self, thresholds: Sequence[float], trust: ExitTrust | None = None):
        self.trust = trust or ExitTrust(rate=0, impatience=0)
        self.thresholds = tuple(float(value) for value in thresholds)
        for number, value in enumerate(self.thresholds, start=1):
            if not 0 <= value <= 1:
                raise ValueError(f"threshold tau_{number} is {value}; it must lie in [0, 1] (1 = never leave there)")

    @property
    def thresholds_in_force(self) -> tuple[float, ...]:
        """What the scores of the exits but the last must exceed in the next frame."""
        return tuple(self.trust.threshold(exit_index, tau) for exit_index, tau in enumerate(self.thresholds, start=1))

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        if exit_index > len(self.thresholds):
            raise ValueError(f"{len(self.thresholds)} thresholds given, but exit {exit_index} asks for one")
        return score > self.trust.threshold(exit_index, self.thresholds[exit_index - 1])

    def observe(self, result: TrackResult) -> None:
        if self.trust.shifts:
            self.trust.observe(result.exit_index, result.exit_scores, result.agreements)

    @property
    def compares_exits(self) -> bool:
        return self.trust.wants_comparison

    def restart(self) -> None:
        self.trust.restart()

    def __repr__(self) -> str:
        return f"FixedThresholds({self.thresholds}{f', {self.trust}' if self.trust.shifts else ''})"


class FixedExit(_Memoryless):
    """Always the same exit, ``exit_index`` from 1 (the first) on; beyond the last means the last."""

    def __init__(self, exit_index: int):
        if exit_index < 1:
            raise ValueError(f"exit_index is {exit_index}; it must be at least 1, the first exit")
        self.exit_index = int(exit_index)

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        return exit_index >= self.exit_index

    def __repr__(self) -> str:
        return f"FixedExit({self.exit_index})"


class RandomExit(_Memoryless):
    """Leaves at random: the baseline that learned scores must beat (the paper's Table III).

    ``probabilities`` are those of each exit (the last included) and sum to 1; by default all alike for three exits.
    Raises ValueError for anything else.
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
