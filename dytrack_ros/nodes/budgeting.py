"""What a frame may take and which exit policy is in force: decided before every frame. Knows nothing of ROS."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

from dytrack_ros.policies import (
    BudgetState,
    ExitPolicy,
    ExitTrust,
    FixedExit,
    FixedThresholds,
    FrameBudget,
    TargetPolicy,
)
from dytrack_ros.policies.budget_source import BudgetSource, CameraPace, CameraPeriod, Overhead
from dytrack_ros.policies.frame_budget import MAX_BUDGET_S, MIN_BUDGET_S
from dytrack_ros.tracking import DyTracker

# A budget that has by itself moved by less is left alone: moving it moves the thresholds too.
BUDGET_TOLERANCE = 0.01
# Frames whose mean time is reported.
MEAN_FRAMES = 100


class _Values(Protocol):
    def __getitem__(self, name: str): ...


@dataclass(frozen=True)
class BudgetSettings:
    """What the user asks for: a budget from ``source``, unless ``fixed_exit`` (1-based) says that none counts.

    ``thresholds``, ``trust_rate`` and ``impatience`` count where there is none. ``deadline_s`` None: no deadline but that of
    ``keep_period``: in mode ``camera`` the period, or the periods that a frame gets. The rest as in FrameBudget.
    """

    source: BudgetSource = field(default_factory=BudgetSource)
    fixed_exit: int | None = None
    thresholds: tuple[float, ...] = ()
    deadline_s: float | None = None
    deadline_sigmas: float = 3.0
    predict_ahead: bool = False
    keep_period: bool = False
    trust_rate: float = 0.0
    impatience: float = 0.0

    @classmethod
    def of(cls, values: _Values) -> BudgetSettings:
        """The settings that parameters, by name (``values["budget.mode"]``), make."""
        deadline_ms = values["budget.deadline_ms"]
        return cls(
            source=BudgetSource(
                values["budget.mode"],
                values["budget.rate_hz"],
                values["budget.milliseconds"],
                values["budget.headroom"],
            ),
            fixed_exit=values["exit.fixed"] if values["exit.policy"] == "fixed" else None,
            thresholds=(values["exit.tau_1"], values["exit.tau_2"]),
            trust_rate=values["exit.trust_rate"],
            impatience=values["exit.impatience"],
            deadline_s=max(deadline_ms * 1e-3, MIN_BUDGET_S) if deadline_ms else None,
            deadline_sigmas=values["budget.deadline_sigmas"],
            predict_ahead=values["budget.predict_ahead"],
            keep_period=values["budget.keep_period"],
        )


@dataclass(frozen=True)
class FrameTerms:
    """What was in force for a frame. Without a budget: 0, 0, 1, and the thresholds as trust shifts them."""

    budget_s: float = 0.0
    thrift: float = 0.0
    slowdown: float = 1.0
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True)
class BudgetView:
    """The budget at one moment, times in seconds.

    Attributes:
        settings: those of the last frame; None before the first.
        state: None where no budget is in force.
        period_s, periods: the camera's period (None: not known), and how many of them a frame gets.
        first_exit_s, full_depth_s: what a frame takes at present.
        mean_s: of `track`, over the last MEAN_FRAMES frames; 0 before the first.
        overhead_s: what a frame takes beside `track` until its box is out.
        deadline_misses: frames whose box came out after the deadline.
        exit_costs_s: of each exit, measured at the start and when another engine has taken over.
        calibration_note: which calibration is used, or why none.
    """

    settings: BudgetSettings | None
    state: BudgetState | None
    terms: FrameTerms
    period_s: float | None
    periods: int
    first_exit_s: float
    full_depth_s: float
    mean_s: float
    overhead_s: float
    deadline_misses: int
    exit_costs_s: tuple[float, ...]
    calibration_note: str


class NodeBudget:
    """Chooses the policy of every frame, and keeps one FrameBudget through all changes but that of the engine, so that
    nothing that it has learned is lost.

    Measures what the exits of ``tracker`` cost on this machine, which takes about a second. ``prepare`` and ``observe``
    belong to the thread that tracks; the other methods may be called from any.
    """

    def __init__(self, tracker: DyTracker):
        self._lock = threading.Lock()
        self._exit_count = tracker.exit_count
        self._calibration_note = tracker.calibration_note
        self._period = CameraPeriod()
        self._overhead = Overhead()  # until the box is out: what a deadline and a rate must leave time for
        self._deadline_misses = 0
        self.terms = FrameTerms()
        self._begin(tracker)

    def _begin(self, tracker: DyTracker) -> None:
        """With the tracker's present engine; what was learned of another one is void."""
        self._engine_name = tracker.engine_name  # first: if the measurement fails it is not tried before every frame
        exit_costs_s = tracker.exit_costs().answers
        frame_budget = FrameBudget(budget_s=MAX_BUDGET_S)
        tracker.policy = frame_budget
        with self._lock:
            self._engine_name = tracker.engine_name
            self._exit_costs_s = exit_costs_s
            self._frame_budget = frame_budget
            self._policy: ExitPolicy | None = None
            self._settings: BudgetSettings | None = None
            self._without_budget: ExitPolicy | None = None
            self._trust = ExitTrust(rate=0, impatience=0)  # outlives changes of the settings, as the FrameBudget does
            self._pace = CameraPace()
            self._tracked_s: deque[float] = deque(maxlen=MEAN_FRAMES)

    # ---- the camera

    def image_arrived(self, stamp_s: float) -> None:
        """Takes the stamp of every image received, seconds; cameras that stamp nothing say 0."""
        with self._lock:
            self._period.observe(stamp_s)

    def forget_camera(self) -> None:
        """Time has jumped: the camera's period must be found anew."""
        with self._lock:
            self._period.restart()

    # ---- around a frame

    def prepare(self, tracker: DyTracker, settings: BudgetSettings) -> None:
        """Before a frame: give the tracker the policy that ``settings`` ask for, with the budget of this moment.

        Where another engine has taken over its exits are measured first, for about a second.
        """
        if tracker.engine_name != self._engine_name:
            self._begin(tracker)
        with self._lock:
            is_changed = settings is not self._settings
            if is_changed:
                self._settings = settings
                self._without_budget = self._policy_without_budget(settings)
            budget_s = None if settings.fixed_exit else self._budget_s(settings.source)
            if budget_s is None:
                self._put_terms(tracker, self._without_budget)
            else:
                self._put_terms(tracker, self._frame_budget)
                self._adjust(budget_s, settings, 0.0 if is_changed else BUDGET_TOLERANCE)
            self.terms = self._describe()

    def observe(self, tracked_s: float, answered_s: float) -> None:
        """After a frame: what ``track`` took, and all until the box was out and the next frame could begin."""
        with self._lock:
            self._overhead.observe(answered_s - tracked_s)
            self._tracked_s.append(tracked_s)
            if self._keeps_budget and answered_s > (self._frame_budget.deadline_s or float("inf")):
                self._deadline_misses += 1

    @property
    def was_cut(self) -> bool:
        """Whether the deadline, not a score, ended the last frame that was tracked."""
        return self._keeps_budget and self._frame_budget.deadline_cut

    @property
    def _keeps_budget(self) -> bool:
        return self._policy is self._frame_budget

    def _budget_s(self, source: BudgetSource) -> float | None:
        first_exit_s = self._frame_budget.exit_seconds(1)
        return source.budget_s(self._period.seconds, self._overhead.seconds, first_exit_s, self._pace)

    def _deadline_s(self, settings: BudgetSettings) -> float | None:
        """After :meth:`_budget_s`, which finds out how many periods a frame gets."""
        deadlines = [] if settings.deadline_s is None else [settings.deadline_s]
        if settings.keep_period and settings.source.mode == "camera" and self._period.seconds is not None:
            deadlines.append(min(max(self._pace.frames * self._period.seconds, MIN_BUDGET_S), MAX_BUDGET_S))
        return min(deadlines, default=None)

    def _policy_without_budget(self, settings: BudgetSettings) -> ExitPolicy:
        if settings.fixed_exit:
            return FixedExit(settings.fixed_exit)
        self._trust.rate, self._trust.impatience = settings.trust_rate, settings.impatience
        return FixedThresholds(settings.thresholds, self._trust)

    def _put_terms(self, tracker: DyTracker, policy: ExitPolicy) -> None:
        if policy is self._policy:
            return
        has_seen_the_last_frames = type(policy) is type(self._policy)
        self._policy = policy
        if not has_seen_the_last_frames and isinstance(policy, TargetPolicy):
            policy.restart()
        tracker.policy = policy

    def _adjust(self, budget_s: float, settings: BudgetSettings, tolerance: float) -> None:
        budget = self._frame_budget
        if abs(budget_s - budget.budget_s) > tolerance * budget.budget_s:
            budget.budget_s = budget_s
        budget.overhead_s = self._overhead.seconds
        budget.deadline_s = self._deadline_s(settings)
        budget.deadline_sigmas = settings.deadline_sigmas
        budget.predict_ahead = settings.predict_ahead

    def _describe(self) -> FrameTerms:
        if self._keeps_budget:
            budget = self._frame_budget
            return FrameTerms(budget.budget_s, budget.thrift, budget.slowdown, tuple(budget.thresholds))
        return FrameTerms(thresholds=getattr(self._policy, "thresholds_in_force", ()))

    # ---- for the diagnostics

    def view(self) -> BudgetView:
        """All of it at this moment."""
        with self._lock:
            budget = self._frame_budget
            return BudgetView(
                settings=self._settings,
                state=budget.state if self._keeps_budget else None,
                terms=self.terms,
                period_s=self._period.seconds,
                periods=self._pace.frames,
                first_exit_s=budget.exit_seconds(1) or 0.0,
                full_depth_s=budget.exit_seconds(self._exit_count) or 0.0,
                mean_s=fmean(self._tracked_s) if self._tracked_s else 0.0,
                overhead_s=self._overhead.seconds,
                deadline_misses=self._deadline_misses,
                exit_costs_s=self._exit_costs_s,
                calibration_note=self._calibration_note,
            )
