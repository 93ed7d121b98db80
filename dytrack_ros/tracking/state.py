"""The state of the target, from the predicted IoU of every frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class TrackState(IntEnum):
    """Values of ``TrackStatus.state``."""

    IDLE = 0
    TRACKING = 1
    UNCERTAIN = 2
    LOST = 3


@dataclass(frozen=True)
class StateThresholds:
    """When the state changes; scores are predicted IoUs, 0 <= lost <= uncertain <= 1.

    A score below ``uncertain`` makes the target UNCERTAIN, ``lost_frames`` consecutive scores below ``lost`` make it
    LOST. It is TRACKING again from ``uncertain + hysteresis`` on. Raises ValueError for values out of range.
    """

    uncertain: float = 0.5
    lost: float = 0.35
    hysteresis: float = 0.05
    lost_frames: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.lost <= self.uncertain <= 1:
            raise ValueError(f"thresholds must satisfy 0 <= lost ({self.lost}) <= uncertain ({self.uncertain}) <= 1")
        if not 0 <= self.hysteresis <= 1 or self.lost_frames < 1:
            raise ValueError(
                f"hysteresis is {self.hysteresis} and lost_frames {self.lost_frames}; "
                "they must lie in [0, 1] and be at least 1"
            )

    @property
    def sure(self) -> float:
        """The least score that ends UNCERTAIN or LOST."""
        return min(self.uncertain + self.hysteresis, 1.0)


class TargetState:
    """The state of one target: IDLE until :meth:`start`, then updated by every frame's score.

    LOST lasts until :meth:`found`: one score is not enough to end it.
    """

    def __init__(self) -> None:
        self.now = TrackState.IDLE
        self._frames_below_lost = 0

    def start(self) -> None:
        self._become(TrackState.TRACKING)

    def stop(self) -> None:
        self._become(TrackState.IDLE)

    def found(self) -> None:
        self._become(TrackState.TRACKING)

    def observe(self, score: float, thresholds: StateThresholds) -> TrackState:
        """Return the state after a frame with this score."""
        if self.now == TrackState.LOST:
            return self.now
        self._frames_below_lost = self._frames_below_lost + 1 if score < thresholds.lost else 0
        if self._frames_below_lost >= thresholds.lost_frames:
            self.now = TrackState.LOST
        elif score < thresholds.uncertain:
            self.now = TrackState.UNCERTAIN
        elif self.now != TrackState.UNCERTAIN or score >= thresholds.sure:
            self.now = TrackState.TRACKING
        return self.now

    def _become(self, state: TrackState) -> None:
        self.now, self._frames_below_lost = state, 0
