"""Per-target correction of exit thresholds (not in the paper)."""

from __future__ import annotations

import math
from collections.abc import Sequence

RATE = 0.1
IMPATIENCE = 0.05
"""Chosen on the development sequences."""
COMPARED_EVERY = 3
"""Least number of frames from one comparison of the exits to the next. It costs one box head for each earlier exit."""


class ExitTrust:
    """Shifts the exit thresholds by what the exits did on the present target.

    Scores are calibrated over all targets, but on a single target an exit can be consistently over-confident. On some
    of the frames that go deeper, the boxes of the earlier exits are compared with the answer. b_k estimates by how
    much the score of exit k is too low; it starts at 0 for every target:

        b_k += rate * (IoU(box_k, answer) - s_k - b_k)

    Errors of the first exit accumulate, since each frame searches around the last box. Its threshold therefore grows
    with n, the number of consecutive frames that exit 1 has answered. The rule is

        exit at k if s_k > tau_k * (1 + impatience * n) - b_k    (n = 0 for k > 1).

    With ``rate`` and ``impatience`` 0 it is the paper's rule. Raises ValueError for a rate outside [0, 1] and for a
    negative or infinite impatience.
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
        """Whether thresholds can be shifted at all."""
        return self._rate > 0 or self._impatience > 0

    def restart(self) -> None:
        """Forget what was learned; for a new target."""
        self._bias: dict[int, float] = {}
        self._firsts_in_a_row = 0
        self._frames_to_comparison = 0

    @property
    def wants_comparison(self) -> bool:
        """Whether the exits shall be compared if the next frame goes deeper than the first."""
        return self._rate > 0 and self._frames_to_comparison == 0

    def score_bias(self, exit_index: int) -> float:
        """b_k of exit ``exit_index`` (1-based): positive if its scores are too low on this target."""
        return self._bias.get(exit_index, 0.0) if self._rate else 0.0

    def threshold(self, exit_index: int, tau: float) -> float:
        """Return the threshold in force, in [0, 1], for ``tau``. A ``tau`` of 1 (never) or 0 (always) stays."""
        if not 0 < tau < 1:
            return tau
        grown = tau * (1 + self._impatience * self._firsts_in_a_row) if exit_index == 1 else tau
        return min(max(grown - self.score_bias(exit_index), 0.0), 1.0)

    def observe(self, exit_index: int, scores: Sequence[float], agreements: Sequence[float]) -> None:
        """Learn from a frame that exit ``exit_index`` (1-based) has answered.

        ``scores`` are those of the exits reached; ``agreements`` the IoUs between the boxes of the earlier exits and
        the answer, empty if they were not compared.
        """
        self._firsts_in_a_row = self._firsts_in_a_row + 1 if exit_index == 1 else 0
        self._frames_to_comparison = COMPARED_EVERY - 1 if agreements else max(self._frames_to_comparison - 1, 0)
        for number, (score, agreement) in enumerate(zip(scores, agreements, strict=False), start=1):
            if math.isfinite(score) and math.isfinite(agreement):
                before = self._bias.get(number, 0.0)
                self._bias[number] = before + self._rate * (agreement - score - before)

    def __repr__(self) -> str:
        return f"ExitTrust(rate={self._rate}, impatience={self._impatience})"
