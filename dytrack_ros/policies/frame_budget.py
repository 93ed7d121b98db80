"""The exit policy whose thresholds ask for quality, within a limit on the mean frame time and a deadline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from numbers import Real

from dytrack_ros.policies.calibration import Calibration
from dytrack_ros.policies.exit_policy import (
    ExitCosts,
    ExitPolicy,
    ExitReason,
    ExitTrace,
    FixedThresholds,
    default_thresholds,
)
from dytrack_ros.policies.latency_model import LatencyModel
from dytrack_ros.policies.thresholds import DEFAULT_EXIT_COUNT, ThresholdFamily

MIN_BUDGET_S, MAX_BUDGET_S = 1e-4, 60.0


class BudgetState(Enum):
    """The budget B against the present exit costs c_1 ... c_K."""

    UNLIMITED = "unlimited"  # there is no budget: the asked thresholds decide
    UNKNOWN = "unknown"  # the exit costs are not known yet
    KEEPING = "keeping"  # c_1 <= B <= c_K: the budget may lower the thresholds
    INFEASIBLE = "infeasible"  # B < c_1: every frame takes the first exit and is still too slow
    IDLE = "idle"  # B > c_K: the asked thresholds decide


class FrameBudget(ExitPolicy):
    """Exit by ``thresholds``, and lower them along one scalar, ``thrift``, if the mean frame time exceeds ``budget_s``.

    **Rule.** The threshold in force is tau_k_eff = min(tau_k, family_k(thrift)): ``thresholds`` tau_k say which
    predicted IoU is good enough, the calibrated family says what is affordable. The family is 1 at thrift 0, so the
    asked thresholds alone decide; it falls with thrift, and at thrift 1 every frame takes the first exit.

    **Mean.** After every frame of ``seconds`` s_t, with e_t = (s_t - B) / B,

        thrift <- max(0, thrift + gain * e_t).

    Statement: if every frame that takes the first exit needs at most B (c_1 <= B), then after T frames, for any scores
    and thresholds, mean(s) <= B + (1 + gain * max e) * B / (gain * T). The budget is a limit, not a target: there is no
    lower bound.
    Proof: max(0, x) >= x, so thrift_{t+1} >= thrift_t + gain * e_t, and the sum of gain * e_t is at most
    thrift_T - thrift_0 <= thrift_T. At thrift >= 1 a frame takes the first exit, so e_t <= 0 and thrift does not rise;
    below 1 one step adds at most gain * max e. Hence thrift_T <= 1 + gain * max e. QED. Thrift is clipped to that
    value, so clipping never acts while c_1 <= B; otherwise it bounds the error that is carried over. For the same
    reason one frame counts as at most ``OUTLIER`` times the present cost of its exit.

    **Deadline.** A frame stops if the next stage, a box head and ``overhead_s`` would end after ``deadline_s``. The
    stage's time is estimated with the slow-down factor plus ``deadline_sigmas`` standard deviations, or with this
    frame's own slow-down if that is larger. The first stage always runs.

    ``budget_s`` None is no limit. ``thresholds``, ``costs`` and ``family`` given to the constructor stay in force;
    otherwise :meth:`on_engine` sets them from the calibration and the measured costs. Until costs are known, the state
    is UNKNOWN and thrift starts at 0. ``thresholds``, ``budget_s``, ``deadline_s``, ``deadline_sigmas`` and
    ``overhead_s`` may be assigned between two frames. Raises ValueError for values out of range.
    """

    OUTLIER = 3.0

    def __init__(
        self,
        budget_s: float | None,
        deadline_s: float | None = None,
        *,
        thresholds: Sequence[float] | None = None,
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
        self._budget_s = None if budget_s is None else check_seconds("budget_s", budget_s)
        self.deadline_s, self.overhead_s = deadline_s, overhead_s
        self.gain, self.deadline_sigmas = float(gain), float(deadline_sigmas)
        self._reason = self._reason_in_frame = ExitReason.LAST_EXIT
        self.needs_costs = family is None or costs is None
        exit_count = costs.exit_count if costs else family.exit_count if family else DEFAULT_EXIT_COUNT
        self._has_given_thresholds = thresholds is not None
        self._quality = FixedThresholds(default_thresholds(exit_count) if thresholds is None else thresholds)
        self._given_family, self._given_costs = family, costs
        self._family = family or ThresholdFamily.default()
        self._latency = LatencyModel(costs)
        self._set_thrift(self._expected_thrift(self._budget_s))

    @property
    def thresholds(self) -> tuple[float, ...]:
        """tau_1 ... tau_{K-1} as asked. Assigned ones are kept when the engine changes."""
        return self._quality.thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Sequence[float]) -> None:
        self._quality.thresholds = tuple(thresholds)
        self._has_given_thresholds = True

    @property
    def budget_s(self) -> float | None:
        """B, seconds; None: no limit. Assigning it moves thrift at once by what the calibration expects it to need."""
        return self._budget_s

    @budget_s.setter
    def budget_s(self, seconds: float | None) -> None:
        before = self._expected_thrift(self._budget_s)
        self._budget_s = None if seconds is None else check_seconds("budget_s", seconds)
        kept = 0.0 if self._budget_s is None else self.thrift - before
        self._set_thrift(kept + self._expected_thrift(self._budget_s))

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
        """lambda in [0, 1]: 0 = the asked thresholds decide, 1 = every frame takes the first exit."""
        return min(self._raw_thrift, 1.0)

    @property
    def thresholds_in_force(self) -> tuple[float, ...]:
        affordable = self._affordable
        return tuple(min(tau, affordable[min(k, len(affordable) - 1)]) for k, tau in enumerate(self.thresholds))

    @property
    def reason(self) -> ExitReason:
        return self._reason

    @property
    def slowdown(self) -> float:
        """Present frame times as a multiple of the measured exit costs."""
        return self._latency.slowdown

    @property
    def state(self) -> BudgetState:
        costs = self._latency.costs
        if self._budget_s is None:
            return BudgetState.UNLIMITED
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
        if not self._has_given_thresholds:
            asked = calibration.thresholds if calibration else ()
            self._quality.thresholds = asked or default_thresholds(costs.exit_count)
        if costs == self._latency.costs and family == self._family:
            return
        if costs != self._latency.costs:
            self._latency = LatencyModel(costs)
        self._family = family
        self._set_thrift(self._expected_thrift(self._budget_s))

    def on_new_target(self) -> None:
        self._latency.restart()

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        position = min(exit_index, len(self.thresholds), len(self._affordable))  # the last value serves further exits
        if self._quality.should_exit(position, score, elapsed_s):
            self._reason_in_frame = ExitReason.QUALITY
        elif self._raw_thrift >= 1 or score > self._affordable[position - 1]:
            self._reason_in_frame = ExitReason.BUDGET
        elif self._misses_deadline(exit_index, elapsed_s):
            self._reason_in_frame = ExitReason.DEADLINE
        else:
            self._reason_in_frame = ExitReason.LAST_EXIT
        return self._reason_in_frame is not ExitReason.LAST_EXIT

    def observe(self, trace: ExitTrace) -> None:
        if self._budget_s is not None and math.isfinite(trace.seconds):
            expected = self._latency.answer(trace.exit_index)
            seconds = min(trace.seconds, self.OUTLIER * expected) if expected else trace.seconds
            self._set_thrift(self._raw_thrift + self.gain * (seconds - self._budget_s) / self._budget_s)
        self._latency.observe(trace)
        self._reason, self._reason_in_frame = self._reason_in_frame, ExitReason.LAST_EXIT

    def _misses_deadline(self, exit_index: int, elapsed_s: float) -> bool:
        if self._deadline_s is None:
            return False
        remaining = self._latency.going_on(exit_index, elapsed_s, self.deadline_sigmas)
        return elapsed_s + remaining + self.overhead_s > self._deadline_s

    def _set_thrift(self, thrift: float) -> None:
        full_depth = self._latency.answer(self._exit_count)
        largest_error = self.OUTLIER
        if full_depth is not None and self._budget_s is not None:
            largest_error = max(full_depth / self._budget_s - 1, self.OUTLIER)
        self._raw_thrift = min(max(thrift, 0.0), 1 + self.gain * largest_error)
        self._affordable = self._family.thresholds(self._raw_thrift)

    @property
    def _exit_count(self) -> int:
        costs = self._latency.costs
        return max(self._family.exit_count, costs.exit_count if costs else 0)

    def _expected_thrift(self, budget_s: float | None) -> float:
        """Thrift in [0, 1] that the calibration expects for this budget; 0 without one or while costs are unknown."""
        if budget_s is None:
            return 0.0
        first, last = self._latency.answer(1), self._latency.answer(self._exit_count)
        if first is None or last is None or last <= first:
            return 0.0
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
