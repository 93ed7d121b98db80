"""The exit policy that keeps a mean frame time and a deadline."""

from __future__ import annotations

import math
from enum import Enum
from numbers import Real

from dytrack_ros.policies.calibration import Calibration
from dytrack_ros.policies.exit_policy import ExitCosts, ExitPolicy, ExitTrace
from dytrack_ros.policies.latency_model import LatencyModel
from dytrack_ros.policies.thresholds import ThresholdFamily

MIN_BUDGET_S, MAX_BUDGET_S = 1e-4, 60.0


class BudgetState(Enum):
    """The budget B against the present exit costs c_1 ... c_K; c_1 <= B <= c_K is the working range."""

    UNKNOWN = "unknown"  # the exit costs are not known yet
    KEEPING = "keeping"
    INFEASIBLE = "infeasible"  # B < c_1: every frame takes the first exit and is still too slow
    IDLE = "idle"  # B > c_K: every frame goes to full depth with time to spare


class FrameBudget(ExitPolicy):
    """Keeps the mean frame time at ``budget_s`` by moving all thresholds together along one scalar, ``thrift``.

    **Mean.** After every frame of ``seconds`` s_t, with e_t = (s_t - B) / B,

        thrift += gain * e_t.

    Statement: if every frame that stops at the first exit takes at most B and every frame at full depth at least B,
    then after T frames, for any scores, |mean(s) - B| <= (1 + gain * (1 + max e)) * B / (gain * T).
    Proof: thrift stays within [-gain, 1 + gain * max e]: at thrift >= 1 every frame stops at the first exit, so
    e_t <= 0 and thrift does not rise; at thrift <= 0 every frame goes to full depth, so e_t >= 0 and it does not fall;
    one step moves it up by at most gain * max e and down by at most gain. The sum of e_t telescopes to
    (thrift_T - thrift_0) / gain. QED. Thrift is clipped to an interval that contains this one, so clipping never acts
    in the working range; outside of it, it bounds the error that is carried over. For the same reason one frame counts
    as at most ``OUTLIER`` times the present cost of its exit. (docs/budget.md)

    **Deadline.** A frame stops if the next stage, a box head and ``overhead_s`` would end after ``deadline_s``. The
    stage's time is estimated with the slow-down factor plus ``deadline_sigmas`` standard deviations, or with this
    frame's own slow-down if that is larger. The first stage always runs.

    ``costs`` and ``family`` given to the constructor stay in force; otherwise :meth:`on_engine` sets them.
    ``budget_s``, ``deadline_s``, ``deadline_sigmas`` and ``overhead_s`` may be assigned between two frames;
    ``deadline_cut`` says whether the deadline, not a score, ended the last frame. Raises ValueError for values out of
    range.
    """

    OUTLIER = 3.0

    def __init__(
        self,
        budget_s: float,
        deadline_s: float | None = None,
        *,
        gain: float = 0.12,
        deadline_sigmas: float = 3.0,
        overhead_s: float = 0.0,
        family: ThresholdFamily | None = None,
        costs: ExitCosts | None = None,
    ):
        _check_fit(family, costs)
        for name, value, low in (("gain", gain, 1e-6), ("deadline_sigmas", deadline_sigmas, 0)):
            if not (math.isfinite(value) and value >= low):
                raise ValueError(f"{name} is {value}; it must be a number of at least {low:g}")
        self._budget_s = check_seconds("budget_s", budget_s)
        self.deadline_s, self.overhead_s = deadline_s, overhead_s
        self.gain, self.deadline_sigmas = float(gain), float(deadline_sigmas)
        self.deadline_cut = self._cut_in_frame = False
        self.needs_costs = family is None or costs is None
        self._given_family, self._given_costs = family, costs
        self._family = family or ThresholdFamily.default()
        self._latency = LatencyModel(costs)
        self._set_thrift(self._expected_thrift(self._budget_s))

    @property
    def budget_s(self) -> float:
        """B, seconds. Assigning it moves thrift at once by what the calibration expects the new budget to need."""
        return self._budget_s

    @budget_s.setter
    def budget_s(self, seconds: float) -> None:
        before = self._expected_thrift(self._budget_s)
        self._budget_s = check_seconds("budget_s", seconds)
        self._set_thrift(self.thrift + self._expected_thrift(self._budget_s) - before)

    @property
    def deadline_s(self) -> float | None:
        """Seconds from the call of ``track`` to the published box; None: no deadline."""
        return self._deadline_s

    @deadline_s.setter
    def deadline_s(self, seconds: float | None) -> None:
        self._deadline_s = None if seconds is None else check_seconds("deadline_s", seconds)

    @property
    def overhead_s(self) -> float:
        """Seconds of a frame outside ``track`` until its box is published; the deadline includes them."""
        return self._overhead_s

    @overhead_s.setter
    def overhead_s(self, seconds: float) -> None:
        if not 0 <= seconds <= MAX_BUDGET_S:
            raise ValueError(f"overhead_s is {seconds}; it must lie in [0, {MAX_BUDGET_S}] seconds")
        self._overhead_s = float(seconds)

    @property
    def thrift(self) -> float:
        """0 = always full depth, 1 = always the first exit."""
        return min(max(self._raw_thrift, 0.0), 1.0)

    @property
    def thresholds_in_force(self) -> tuple[float, ...]:
        return self._thresholds

    @property
    def slowdown(self) -> float:
        """Present frame times as a multiple of the measured exit costs."""
        return self._latency.slowdown

    @property
    def state(self) -> BudgetState:
        costs = self._latency.costs
        if costs is None:
            return BudgetState.UNKNOWN
        if self._budget_s < self._latency.slowdown * costs.answer(1):
            return BudgetState.INFEASIBLE
        full_depth = self._latency.answer(self._exit_count)
        return BudgetState.IDLE if full_depth is not None and self._budget_s > full_depth else BudgetState.KEEPING

    def exit_seconds(self, exit_index: int) -> float | None:
        """Present seconds of a frame that stops at ``exit_index`` (1-based); None while unknown."""
        return self._latency.answer(exit_index)

    # --- hooks -------------------------------------------------------------------------------------------------------

    def on_engine(self, costs: ExitCosts, calibration: Calibration | None) -> None:
        """Take costs and thresholds; costs that differ from the present ones reset the slow-down.

        Raises ValueError if they do not fit the number of exits of what the constructor was given.
        """
        costs = self._given_costs or costs
        family = self._given_family
        if family is None:
            family = calibration.family if calibration else ThresholdFamily.default(costs.exit_count)
        _check_fit(family, costs)
        if costs == self._latency.costs and family == self._family:
            return
        if costs != self._latency.costs:
            self._latency = LatencyModel(costs)
        self._family = family
        self._set_thrift(self._expected_thrift(self._budget_s))

    def on_new_target(self) -> None:
        self._latency.restart()

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        if 0 < self._raw_thrift < 1:
            is_good = score > self._thresholds[min(exit_index, len(self._thresholds)) - 1]
        else:
            is_good = self._raw_thrift >= 1
        self._cut_in_frame = not is_good and self._misses_deadline(exit_index, elapsed_s)
        return is_good or self._cut_in_frame

    def observe(self, trace: ExitTrace) -> None:
        if math.isfinite(trace.seconds):
            expected = self._latency.answer(trace.exit_index)
            seconds = min(trace.seconds, self.OUTLIER * expected) if expected else trace.seconds
            self._set_thrift(self._raw_thrift + self.gain * (seconds - self._budget_s) / self._budget_s)
        self._latency.observe(trace)
        self.deadline_cut, self._cut_in_frame = self._cut_in_frame, False

    def _misses_deadline(self, exit_index: int, elapsed_s: float) -> bool:
        if self._deadline_s is None:
            return False
        remaining = self._latency.going_on(exit_index, elapsed_s, self.deadline_sigmas)
        return elapsed_s + remaining + self.overhead_s > self._deadline_s

    def _set_thrift(self, thrift: float) -> None:
        full_depth = self._latency.answer(self._exit_count)
        largest_error = self.OUTLIER if full_depth is None else max(full_depth / self._budget_s - 1, self.OUTLIER)
        self._raw_thrift = min(max(thrift, -self.gain), 1 + self.gain * largest_error)
        self._thresholds = self._family.thresholds(self._raw_thrift)

    @property
    def _exit_count(self) -> int:
        costs = self._latency.costs
        return max(self._family.exit_count, costs.exit_count if costs else 0)

    def _expected_thrift(self, budget_s: float) -> float:
        """Thrift in [0, 1] that the calibration expects for this budget; one half while costs are unknown."""
        first, last = self._latency.answer(1), self._latency.answer(self._exit_count)
        if first is None or last is None or last <= first:
            return 0.5
        return min(max((last - budget_s) / (last - first), 0.0), 1.0)

    def __repr__(self) -> str:
        return f"FrameBudget(budget_s={self._budget_s}, deadline_s={self._deadline_s})"


def check_seconds(name: str, seconds: float) -> float:
    """Return ``seconds`` as a float. Raises ValueError unless it lies between 0.1 ms and a minute."""
    if not isinstance(seconds, Real) or isinstance(seconds, bool) or not MIN_BUDGET_S <= seconds <= MAX_BUDGET_S:
        raise ValueError(f"{name} is {seconds!r}; it must be a number in [{MIN_BUDGET_S}, {MAX_BUDGET_S}] seconds")
    return float(seconds)


def _check_fit(family: ThresholdFamily | None, costs: ExitCosts | None) -> None:
    if family is not None and costs is not None and family.exit_count != costs.exit_count:
        raise ValueError(f"thresholds for {family.exit_count} exits do not fit the costs of {costs.exit_count}")
