"""Which of a detector's boxes is to be followed, and when one may be handed over. Knows nothing of ROS."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dytrack_ros.tracking import TrackState
from dytrack_ros.tracking.box import MIN_INIT_SIDE_PX, Box

BEST_SCORE, LARGEST, NEAREST_CENTRE, NEAREST_LAST = CHOICES = (
    "best_score",
    "largest",
    "nearest_centre",
    "nearest_last",
)

Point = tuple[float, float]

# No picture is that large. The tracker would refuse such a box, but as the largest one it would hide all others.
MAX_PX = 100_000.0


@dataclass(frozen=True)
class Candidate:
    """A detection that could become the target: its box (x, y, w, h) in pixels, its class's score, its class and id."""

    box: Box
    score: float
    class_id: str
    id: str = ""

    @property
    def centre(self) -> Point:
        x, y, width, height = self.box
        return x + width / 2, y + height / 2


def candidate(box: Box, hypotheses: Iterable[Any], class_id: str, id: str = "") -> Candidate | None:
    """A detection as a candidate with the score of `class_id` (empty: of its surest class); None where it has no such class.

    `hypotheses` have `class_id` and `score`; scores that are no finite number do not count. A detection without any is of no
    class and has score 0. Raises ValueError for a box that is none.
    """
    if not all(abs(value) <= MAX_PX for value in box) or min(box[2:]) < MIN_INIT_SIDE_PX:
        raise ValueError(
            f"box {tuple(float(f'{value:.4g}') for value in box)} must be of numbers within {MAX_PX:g} and at least "
            f"{MIN_INIT_SIDE_PX:g} px a side"
        )
    scores = [
        (one.score, one.class_id) for one in hypotheses if class_id in ("", one.class_id) and math.isfinite(one.score)
    ]
    if not scores and class_id:
        return None
    score, name = max(scores, default=(0.0, ""))
    return Candidate(box, score, name, id)


def choose(candidates: list[Candidate], how: str, centre: Point | None = None, last: Point | None = None) -> Candidate:
    """The one of at least one candidate that `how`, one of :data:`CHOICES`, prefers.

    `centre` is the picture's, which `nearest_centre` needs; `last` where the last target was: without it `nearest_last`
    takes the surest.
    """
    if how == LARGEST:
        return max(candidates, key=lambda one: one.box[2] * one.box[3])
    place = {NEAREST_CENTRE: centre, NEAREST_LAST: last}.get(how)
    if place is None:
        return max(candidates, key=lambda one: one.score)
    return min(candidates, key=lambda one: math.dist(one.centre, place))


class Handover:
    """When the tracker may be given a target: while it says that it has none, and not too soon after the last time.

    Times are in seconds on any one clock.
    """

    # A tracker that has not spoken for so long is gone, paused or without images: no init would be answered.
    SILENCE_LIMIT_S = 3.0

    def __init__(self) -> None:
        self._state: TrackState | None = None
        self._heard_s = self._sent_s = -math.inf

    def heard(self, state: int, now_s: float) -> None:
        """The tracker has told its state."""
        self._state, self._heard_s = state, now_s

    def sent(self, now_s: float) -> None:
        """An init has been sent."""
        self._sent_s = now_s

    def is_due(self, now_s: float, holdoff_s: float) -> bool:
        """Whether an init may be sent now."""
        is_free = self._state in (TrackState.IDLE, TrackState.LOST)
        return is_free and now_s - self._heard_s <= self.SILENCE_LIMIT_S and now_s - self._sent_s >= holdoff_s
