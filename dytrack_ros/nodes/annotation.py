"""What a picture of a frame tells of the tracker, whatever draws it; and its colours."""

from __future__ import annotations

from dataclasses import dataclass

from dytrack_ros.nodes.follower import Outcome
from dytrack_ros.tracking import TrackState
from dytrack_ros.tracking.box import Box

# RGB in [0, 255], chosen to stay apart for colour-blind viewers (Okabe and Ito's palette).
STATE_COLOURS = {
    TrackState.IDLE: (160, 160, 160),
    TrackState.TRACKING: (0, 158, 115),
    TrackState.UNCERTAIN: (230, 159, 0),
    TrackState.LOST: (213, 94, 0),
}
TRUTH_COLOUR = (86, 180, 233)


@dataclass(frozen=True)
class Annotation:
    """One frame, as far as it is known.

    Attributes:
        state: None for a frame that the tracker has not looked at; its box is an older one's.
        caption: beside the state: the target's id, and what else there is to say.
        box, truth, searched: x, y, w, h in pixels, or None; `searched` may reach beyond the picture.
        score: the predicted IoU in [0, 1].
        exit_index, exit_count: the exit taken (1-based, 0: none) and how many there are.
        spent_ms, budget_ms: what tracking took and what it may take in the mean; 0: not known.
    """

    state: TrackState | None
    caption: str = ""
    box: Box | None = None
    score: float = 0.0
    exit_index: int = 0
    exit_count: int = 0
    truth: Box | None = None
    searched: Box | None = None
    spent_ms: float = 0.0
    budget_ms: float = 0.0

    @classmethod
    def of(cls, outcome: Outcome, exit_count: int, budget_s: float) -> Annotation:
        """What the tracker itself knows after a frame for which it had `budget_s` (0: no budget)."""
        result = outcome.result
        return cls(
            state=outcome.state,
            caption=outcome.target_id,
            box=outcome.box,
            score=outcome.score,
            exit_index=result.exit_index if result else 0,
            exit_count=exit_count,
            searched=result.searched if result else None,
            spent_ms=result.seconds * 1e3 if result else 0.0,
            budget_ms=budget_s * 1e3,
        )

    @property
    def colour(self) -> tuple[int, int, int]:
        """The state's, RGB."""
        return STATE_COLOURS[TrackState.IDLE if self.state is None else TrackState(self.state)]

    @property
    def word(self) -> str:
        """The state's."""
        return "dropped" if self.state is None else TrackState(self.state).name
