"""The exit policy that keeps a frame time."""

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
    """How the budget B stands to what the exits cost now: c_1 <= B <= c_K is the working range."""

    LEARNING = "learning"  # no frame has told what an exit costs
    KEEPING = "keeping"
    INFEASIBLE = "infeasible"  # B < c_1: every frame leaves at the first exit and still takes longer
    IDLE = "idle"  # B > c_K: every frame goes to full depth and time is left


class FrameBudget(ExitPolicy):
    """Keeps the mean frame time at ``budget_s`` by moving all thresholds together along one scalar, ``thrift``.

    **Mean.** After every frame of ``seconds`` s_t, with e_t = (s_t - B) / B,

        thrift += gain * e_t.

    Statement: if every frame that leaves at the first exit takes at most B and every frame at full depth at least B,
    then after T frames, whatever the scores were, |mean(s) - B| <= (1 + gain * (1 + max e)) * B / (gain * T).
    Proof: thrift stays within [-gain, 1 + gain * max e]: at thrift >= 1 every frame leaves at the first exit, so
    e_t <= 0 and thrift does not rise; at thrift <= 0 none does before the last, so e_t >= 0 and it does not fall; and
    one step moves it by at most gain * max e up and gain * 1 down. The sum of e_t telescopes to
    (thrift_T - thrift_0) / gain. QED. Clipping thrift to an interval of at least that size therefore never acts in the
    working range; it only keeps an infeasible or idle time from being paid back for ever after. Likewise a frame counts
    at most as ``OUTLIER`` times what its exit takes at present, so that a pause is not. (docs/budget.md)

    **Deadline.** Before every optional stage a frame leaves if ``elapsed + stage and head + overhead_s`` would pass
    ``deadline_s``, at ``deadline_sigmas`` standard deviations of the slow-down factor or at this frame's own slow-down,
    whichever is longer. Stage 1 is never skipped.

    **Burst.** A token bucket holds what frames have saved, at most ``burst`` budgets: a frame may go deeper only if its
    expected time fits into B plus the tokens. So over any stretch the time spent is at most B a frame plus ``burst``
    budgets. The bucket has room for at least c_K - c_1, which keeps the mean's proof whole: at thrift <= 0, where it
    needs full depth, thrift can have risen by at most gain * (B - c_1) / B since the bucket was full, so at most
    B - c_1 is missing from it, and the c_K - B that full depth asks for is there.

    Times are those of :class:`ExitTrace`. Without costs (given, or from :meth:`on_engine`) it learns them from the first
    frames' ``stage_seconds``. ``costs`` and ``family`` that are given stay in force.
    Raises ValueError for budgets out of range.
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
        burst: float = 6.0,
        family: ThresholdFamily | None = None,
        costs: ExitCosts | None = None,
    ):
        _check_fit(family, costs)
        self._budget_s = check_seconds("budget_s", budget_s)
        self.deadline_s = deadline_s
        for name, value, low in (("gain", gain, 1e-6), ("deadline_sigmas", deadline_sigmas, 0), ("burst", burst, 0)):
            if not (math.isfinite(value) and value >= low):
                raise ValueError(f"{name} is {value}; it must be a number of at least {low:g}")
        self.gain, self.deadline_sigmas, self.burst = float(gain), float(deadline_sigmas), float(burst)
        self.overhead_s = overhead_s
        self.deadline_cut = False
        self.needs_costs = family is None or costs is None
        self._given_family, self._given_costs = family, costs
        self._family = family or ThresholdFamily.default()
        self._latency = LatencyModel(costs)
        self._tokens = math.inf
        self._cut_in_frame = False
        self._set_thrift(self._expected_thrift(self._budget_s))

    # --- what is known -----------------------------------------------------------------------------------------------

    def on_engine(self, costs: ExitCosts, calibration: Calibration | None) -> None:
        """Take costs and thresholds. Costs that differ from those before void the slow-down and the saved time.

        Raises ValueError if they are of another number of exits than what was given to the constructor.
        """
        costs = self._given_costs or costs
        family = calibration.family if calibration else ThresholdFamily.default(costs.exit_count)
        family = self._given_family or family
        _check_fit(family, costs)
        if costs == self._latency.costs and family == self._family:
            return
        if costs != self._latency.costs:
            self._latency = LatencyModel(costs)
            self._tokens = math.inf
        self._family = family
        self._set_thrift(self._expected_thrift(self._budget_s))

    def on_new_target(self) -> None:
        """Let the first frames of the target teach nothing about times."""
        self._latency.restart()

    @property
    def budget_s(self) -> float:
        """B, seconds. Setting it moves thrift at once by as much as the calibration expects the new budget to need."""
        return self._budget_s

    @budget_s.setter
    def budget_s(self, seconds: float) -> None:
        before = self._expected_thrift(self._budget_s)
        self._budget_s = check_seconds("budget_s", seconds)
        self._set_thrift(self.thrift + self._expected_thrift(self._budget_s) - before)
        self._tokens = max(self._tokens, 0.0)

    @property
    def deadline_s(self) -> float | None:
        return self._deadline_s

    @deadline_s.setter
    def deadline_s(self, seconds: float | None) -> None:
        self._deadline_s = None if seconds is None else check_seconds("deadline_s", seconds)

    @property
    def thrift(self) -> float:
        """0 = always full depth, 1 = always the first exit."""
        return min(max(self._raw_thrift, 0.0), 1.0)

    @property
    def thresholds_in_force(self) -> tuple[float, ...]:
        return self._thresholds

    @property
    def slowdown(self) -> float:
        """Frame times as a multiple of what they were when measured at the start."""
        return self._latency.slowdown

    @property
    def state(self) -> BudgetState:
        costs = self._latency.costs
        if costs is None:
            return BudgetState.LEARNING
        if self._budget_s < self._latency.slowdown * costs.answer(1):
            return BudgetState.INFEASIBLE
        full_depth = self._latency.answer(self._exit_count)
        return BudgetState.IDLE if full_depth is not None and self._budget_s > full_depth else BudgetState.KEEPING

    @property
    def overhead_s(self) -> float:
        """Seconds that a frame takes beside the tracker until its box is out: the deadline leaves time for them."""
        return self._overhead_s

    @overhead_s.setter
    def overhead_s(self, seconds: float) -> None:
        if not 0 <= seconds <= MAX_BUDGET_S:
            raise ValueError(f"overhead_s is {seconds}; it must lie in [0, {MAX_BUDGET_S}] seconds")
        self._overhead_s = float(seconds)

    def exit_seconds(self, exit_index: int) -> float | None:
        """What a frame that leaves at ``exit_index`` (1-based) takes at present; None while unknown."""
        return self._latency.answer(exit_index)

    # --- the policy --------------------------------------------------------------------------------------------------

    def should_exit(self, exit_index: int, score: float, elapsed_s: float) -> bool:
        if exit_index == 1:
            self._cut_in_frame = False
        if self._is_satisfied(exit_index, score) or self._exceeds_tokens(exit_index):
            return True
        self._cut_in_frame = self._misses_deadline(exit_index, elapsed_s)
        return self._cut_in_frame

    def observe(self, trace: ExitTrace) -> None:
        if math.isfinite(trace.seconds):
            present = self._latency.answer(trace.exit_index)
            self._spend(min(trace.seconds, self.OUTLIER * present) if present else trace.seconds)
        self._latency.observe(trace)
        self.deadline_cut, self._cut_in_frame = self._cut_in_frame, False

    def _is_satisfied(self, exit_index: int, score: float) -> bool:
        if not 0 < self._raw_thrift < 1:
            return self._raw_thrift >= 1
        return score > self._thresholds[min(exit_index, len(self._thresholds)) - 1]

    def _misses_deadline(self, exit_index: int, elapsed_s: float) -> bool:
        if self._deadline_s is None:
            return False
        ahead = self._latency.going_on(exit_index, elapsed_s, self.deadline_sigmas)
        return elapsed_s + ahead + self.overhead_s > self._deadline_s

    def _exceeds_tokens(self, exit_index: int) -> bool:
        expected = self._latency.answer(exit_index + 1)
        return expected is not None and expected > self._budget_s + self._tokens

    def _spend(self, seconds: float) -> None:
        """One step of thrift and of the bucket."""
        self._set_thrift(self._raw_thrift + self.gain * (seconds - self._budget_s) / self._budget_s)
        capacity = self._capacity()
        self._tokens = min(max(min(self._tokens, capacity) + self._budget_s - seconds, -self._budget_s), capacity)

    def _capacity(self) -> float:
        cheapest, dearest = self._latency.answer(1), self._latency.answer(self._exit_count)
        if cheapest is None or dearest is None:
            return math.inf
        return max(self.burst * self._budget_s, dearest - cheapest)

    def _set_thrift(self, thrift: float) -> None:
        dearest = self._latency.answer(self._exit_count)
        largest_error = self.OUTLIER if dearest is None else max(dearest / self._budget_s - 1, self.OUTLIER)
        self._raw_thrift = min(max(thrift, -self.gain), 1 + self.gain * largest_error)
        self._thresholds = self._family.thresholds(self._raw_thrift)

    @property
    def _exit_count(self) -> int:
        costs = self._latency.costs
        return max(self._family.exit_count, costs.exit_count if costs else 0)

    def _expected_thrift(self, budget_s: float) -> float:
        """Where the calibration expects this budget to be met, in [0, 1]; one half while costs are unknown."""
        cheapest, dearest = self._latency.answer(1), self._latency.answer(self._exit_count)
        if cheapest is None or dearest is None or dearest <= cheapest:
            return 0.5
        return min(max((dearest - budget_s) / (dearest - cheapest), 0.0), 1.0)

    def __repr__(self) -> str:
        return f"FrameBudget(budget_s={self._budget_s}, deadline_s={self._deadline_s})"


def check_seconds(name: str, seconds: float) -> float:
    """Raises ValueError unless ``seconds`` lies between 0.1 ms and a minute."""
    if not isinstance(seconds, Real) or isinstance(seconds, bool) or not MIN_BUDGET_S <= seconds <= MAX_BUDGET_S:
        raise ValueError(f"{name} is {seconds!r}; it must be a number in [{MIN_BUDGET_S}, {MAX_BUDGET_S}] seconds")
    return float(seconds)


def _check_fit(family: ThresholdFamily | None, costs: ExitCosts | None) -> None:
    if family is not None and costs is not None and family.exit_count != costs.exit_count:
        raise ValueError(f"thresholds for {family.exit_count} exits do not fit the costs of {costs.exit_count}")
