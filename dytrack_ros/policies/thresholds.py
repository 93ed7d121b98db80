"""A nested family of exit thresholds: one scalar, ``thrift``, from full depth to always the first exit."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

# Without a calibration: from this score at thrift just above 0 down to that one just below 1. Learned IoU scores
# rarely leave this range, whatever the weights.
DEFAULT_RANGE = (0.95, 0.35)
DEFAULT_EXIT_COUNT = 3


@dataclass(frozen=True)
class ThresholdFamily:
    """tau_k for every exit but the last as a function of thrift, piecewise linear between ``rows``.

    ``thrifts`` ascend from 0 to 1; ``rows[i]`` holds tau_1 ... tau_{K-1} in [0, 1] at ``thrifts[i]``, none of them
    rising with thrift, so that a frame never goes deeper because thrift has grown. Outside the open interval (0, 1)
    scores count no more: at 0 and below no frame leaves before the last exit, at 1 and above each leaves at the first.
    Raises ValueError for anything else.
    """

    thrifts: Sequence[float]
    rows: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "thrifts", tuple(float(thrift) for thrift in self.thrifts))
        object.__setattr__(self, "rows", tuple(tuple(float(tau) for tau in row) for row in self.rows))
        if len(self.thrifts) != len(self.rows) or len(self.rows) < 2:
            raise ValueError(
                f"{len(self.thrifts)} thrifts and {len(self.rows)} rows: there must be as many, at least 2"
            )
        if self.thrifts[0] != 0 or self.thrifts[-1] != 1 or not _strictly_ascends(self.thrifts):
            raise ValueError(f"thrifts {self.thrifts} must ascend from 0 to 1")
        if len({len(row) for row in self.rows}) != 1 or not all(0 <= tau <= 1 for row in self.rows for tau in row):
            raise ValueError("every row must hold one threshold in [0, 1] for each exit but the last")
        for column in zip(*self.rows, strict=True):
            if any(later > earlier for earlier, later in zip(column, column[1:], strict=False)):
                raise ValueError(f"thresholds {column} rise with thrift; a nested family's never do")

    @classmethod
    def default(cls, exit_count: int = DEFAULT_EXIT_COUNT) -> ThresholdFamily:
        """All thresholds alike, falling evenly over :data:`DEFAULT_RANGE`: safe for any weights, best for none."""
        return cls((0, 1), [[tau] * (exit_count - 1) for tau in DEFAULT_RANGE])

    @property
    def exit_count(self) -> int:
        return len(self.rows[0]) + 1

    def thresholds(self, thrift: float) -> tuple[float, ...]:
        """tau_1 ... tau_{K-1} at ``thrift``; all 1 at 0 and below, all 0 at 1 and above."""
        if not 0 < thrift < 1:
            return (0.0 if thrift >= 1 else 1.0,) * (self.exit_count - 1)
        after = bisect_right(self.thrifts, thrift)
        low, high = self.thrifts[after - 1], self.thrifts[after]
        part = (thrift - low) / (high - low)
        return tuple(a + part * (b - a) for a, b in zip(self.rows[after - 1], self.rows[after], strict=True))


def _strictly_ascends(values: Sequence[float]) -> bool:
    return all(math.isfinite(b) and b > a for a, b in zip(values, values[1:], strict=False))
