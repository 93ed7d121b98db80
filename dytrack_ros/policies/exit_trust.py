"""How far the exits' scores can be believed on the target that is being followed (beyond the paper)."""

from __future__ import annotations

import math
from collections.abc import Sequence

RATE = 0.1
IMPATIENCE = 0.05
"""Both found on the development sequences: docs/budget.md."""
COMPARED_EVERY = 3
"""Frames from one comparison of the exits to the next, at least: it takes the time of a box head for each exit passed."""


class ExitTrust:
    """Shifts the thresholds of the exits by what the present target has shown of them.

    A score says how good an exit's box is over all targets; on one of them an exit may err in every frame and be sure of it.
    So where a frame has gone deeper, now and then the boxes of the exits before are compared with the answer, and by how much a
    score is too low is learnt: ``b_k += rate * (IoU(box_k, answer) - s_k - b_k)``, from 0 at every new target.

    The first exit's errors add up from frame to frame, each searching where the last one looked; so it is asked for more the
    longer no deeper one has answered. With n_1, the frames in a row that it has answered, and n_k = 0 for the others,

        leave at exit k if s_k > tau_k * (1 + impatience * n_k) - b_k.

    With a ``rate`` and ``impatience`` of 0 that is the paper's rule. Raises ValueError for rates outside [0, 1] and negative
    or infinite impatience.
    """

    def __init__(self, rate: float = RATE, impatience: float = IMPATIENCE):
        self.rate, self.impatience = rate, impatience
        self.restart()

    @property
    def rate(self) -> float:
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is {rate}; it must lie in [0, 1] (0 = learn nothing)")
        self._rate = float(rate)

    @property
    def impatience(self) -> float:
        return self._impatience

    @impatience.setter
    def impatience(self, impatience: float) -> None:
        if not (math.isfinite(impatience) and impatience >= 0):
            raise ValueError(f"impatience is {impatience}; it must be a number of at least 0")
        self._impatience = float(impatience)

    @property
    def shifts(self) -> bool:
        """Whether it can shift anything: otherwise the rule is the paper's."""
        return self._rate > 0 or self._impatience > 0

    def restart(self) -> None:
        """A new target, of which nothing is known."""
        self._underrated: dict[int, float] = {}
        self._firsts_in_a_row = 0
        self._frames_to_comparison = 0

    @property
    def wants_comparison(self) -> bool:
        """Whether the exits should be compared if the next frame goes deeper than the first."""
        return self._rate > 0 and self._frames_to_comparison == 0

    def underrated(self, exit_index: int) -> float:
        """b_k of exit ``exit_index`` (1-based): by how much its scores have been found too low (negative: too high)."""
        return self._underrated.get(exit_index, 0.0) if self._rate else 0.0

    def threshold(self, exit_index: int, tau: float) -> float:
        """What the score of exit ``exit_index`` (1-based) must exceed now, in [0, 1], where it would be ``tau`` otherwise. A
        ``tau`` of 1 (never) or 0 (always) stays."""
        if not 0 < tau < 1:
            return tau
        asked_for = tau * (1 + self._impatience * self._firsts_in_a_row) if exit_index == 1 else tau
        return min(max(asked_for - self.underrated(exit_index), 0.0), 1.0)

    def observe(self, exit_index: int, scores: Sequence[float], agreements: Sequence[float]) -> None:
        """After a frame that exit ``exit_index`` (1-based) has answered: ``scores`` of the exits reached, and of those before,
        where they were compared, the IoU of their box with the answer (``agreements``)."""
        self._firsts_in_a_row = self._firsts_in_a_row + 1 if exit_index == 1 else 0
        self._frames_to_comparison = COMPARED_EVERY - 1 if agreements else max(self._frames_to_comparison - 1, 0)
        for exit_number, (score, agreement) in enumerate(zip(scores, agreements, strict=False), start=1):
            if math.isfinite(score) and math.isfinite(agreement):
                before = self._underrated.get(exit_number, 0.0)
                self._underrated[exit_number] = before + self._rate * (agreement - score - before)

    def __repr__(self) -> str:
        return f"ExitTrust(rate={self._rate}, impatience={self._impatience})"
