"""A nested family of exit thresholds along one scalar, ``thrift``: 0 is full depth, 1 always the first exit."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# Thresholds without a calibration, from thrift just above 0 to just below 1. Scores rarely leave this range.
DEFAULT_RANGE = (0.95, 0.35)
DEFAULT_EXIT_COUNT = 3


@dataclass(frozen=True)
class ThresholdFamily:
    """tau_k of every exit but the last as a function of thrift, piecewise linear between ``rows``.

    ``thrifts`` ascend from 0 to 1; ``rows[i]`` holds tau_1 ... tau_{K-1} in [0, 1] at ``thrifts[i]``. No threshold
    rises with thrift, so a frame never goes deeper because thrift has grown. Outside the open interval (0, 1) scores
    do not
    count: at 0 and below every frame goes to the last exit, at 1 and above every frame takes the first.
    Raises ValueError for anything else.
    """

    thrifts: Sequence[float]
    rows: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        thrifts = tuple(float(thrift) for thrift in self.thrifts)
        rows = tuple(tuple(float(tau) for tau in row) for row in self.rows)
        object.__setattr__(self, "thrifts", thrifts)
        object.__setattr__(self, "rows", rows)
        if len(thrifts) != len(rows) or len(rows) < 2:
            raise ValueError(f"{len(thrifts)} thrifts and {len(rows)} rows: there must be as many, at least 2")
        if thrifts[0] != 0 or thrifts[-1] != 1 or not _strictly_ascends(thrifts):
            raise ValueError(f"thrifts {thrifts} must ascend from 0 to 1")
        if len({len(row) for row in rows}) != 1 or not all(0 <= tau <= 1 for row in rows for tau in row):
            raise ValueError("every row must hold one threshold in [0, 1] for each exit but the last")
        for column in zip(*rows, strict=True):
            if any(later > earlier for earlier, later in pairwise(column)):
                raise ValueError(f"thresholds {column} rise with thrift; in a nested family they must not")

    @classmethod
    def default(cls, exit_count: int = DEFAULT_EXIT_COUNT) -> ThresholdFamily:
        """Return equal thresholds that fall over :data:`DEFAULT_RANGE`; for weights without calibration."""
        return cls((0, 1), [[tau] * (exit_count - 1) for tau in DEFAULT_RANGE])

    @property
    def exit_count(self) -> int:
        return len(self.rows[0]) + 1

    def thresholds(self, thrift: float) -> tuple[float, ...]:
        """Return tau_1 ... tau_{K-1} at ``thrift``; all 1 at 0 and below, all 0 at 1 and above."""
        if not 0 < thrift < 1:
            return (0.0 if thrift >= 1 else 1.0,) * (self.exit_count - 1)
        after = bisect_right(self.thrifts, thrift)
        low, high = self.thrifts[after - 1], self.thrifts[after]
        share = (thrift - low) / (high - low)
        return tuple(a + share * (b - a) for a, b in zip(self.rows[after - 1], self.rows[after], strict=True))


def _strictly_ascends(values: Sequence[float]) -> bool:
    return all(math.isfinite(b) and b > a for a, b in pairwise(values))
