"""The cost of each exit: measured at the start, then followed from frame to frame."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

from dytrack_ros.policies.exit_policy import ExitCosts, ExitTrace

MIN_REPEATS, MAX_REPEATS = 3, 15


def measure_exit_costs(
    begin: Callable[[], object],
    advance: Callable[[], object],
    locate: Callable[[], object],
    exit_count: int,
    seconds: float = 1.0,
) -> ExitCosts:
    """Return the median costs over about ``seconds`` of frames at full depth, between 3 and 15 of them.

    ``begin`` cuts a search region and gives it to the engine (it counts to the first stage), ``advance`` runs the next
    stage, ``locate`` a box head.
    """
    stages: list[list[float]] = [[] for _ in range(exit_count)]
    heads: list[float] = []
    end = time.perf_counter() + seconds
    while len(heads) < MIN_REPEATS or (time.perf_counter() < end and len(heads) < MAX_REPEATS):
        started = time.perf_counter()
        begin()
        for stage in stages:
            advance()
            stage.append(time.perf_counter() - started)
            started = time.perf_counter()
        locate()
        heads.append(time.perf_counter() - started)
    return ExitCosts(tuple(median(stage) for stage in stages), median(heads))


class LatencyModel:
    """Models a frame's time as ``slowdown`` times the cost of its exit.

    One factor serves all exits, so load or heat seen at one exit applies at once to exits that were not taken lately
    (the xi of ALERT, Wan et al., USENIX ATC 2020). ``slowdown`` and its standard ``deviation`` are exponentially
    weighted over about ``memory`` frames; one observation counts as at most ``OUTLIER`` times the present estimate. The
    first ``settling`` frames after :meth:`restart` are left out, because caches and clocks are cold. Without ``costs``
    nothing is known.
    """

    OUTLIER = 3.0
    FIRST_DEVIATION = 0.1

    def __init__(self, costs: ExitCosts | None = None, memory: float = 8.0, settling: int = 2):
        if not memory >= 1:
            raise ValueError(f"memory is {memory}; it must be at least 1 frame")
        self.costs = costs
        self.slowdown = 1.0
        self.deviation = self.FIRST_DEVIATION
        self._weight = 1 / memory
        self._settling = self._to_skip = settling

    def restart(self) -> None:
        """Leave out the next frames; for a new target."""
        self._to_skip = self._settling

    def observe(self, trace: ExitTrace) -> None:
        """Learn from a frame's ``seconds``."""
        if self._to_skip > 0:
            self._to_skip -= 1
            return
        if self.costs is None or not math.isfinite(trace.seconds) or trace.seconds <= 0:
            return
        ratio = trace.seconds / self.costs.answer(min(trace.exit_index, self.costs.exit_count))
        ratio = min(max(ratio, self.slowdown / self.OUTLIER), self.slowdown * self.OUTLIER)
        innovation = ratio - self.slowdown
        self.slowdown += self._weight * innovation
        self.deviation = math.sqrt((1 - self._weight) * (self.deviation**2 + self._weight * innovation**2))

    def answer(self, exit_index: int) -> float | None:
        """Return the expected seconds of a frame that stops at ``exit_index`` (1-based); None while unknown."""
        if self.costs is None or exit_index > self.costs.exit_count:
            return None
        return self.slowdown * self.costs.answer(exit_index)

    def going_on(self, exit_index: int, elapsed_s: float, deviations: float) -> float:
        """Return a cautious estimate of the seconds of the stage after ``exit_index`` and a box head.

        The slow-down is the larger of the model's, plus ``deviations`` standard deviations, and this frame's so far:
        ``exit_index`` was reached after ``elapsed_s``. Without costs a stage counts as all stages before it.
        """
        costs = self.costs
        if costs is None or exit_index >= costs.exit_count:
            return elapsed_s
        in_frame = elapsed_s / costs.reach(exit_index) if exit_index else 0.0
        factor = max(self.slowdown + deviations * self.deviation, in_frame)
        return factor * (costs.stages[exit_index] + costs.head)
