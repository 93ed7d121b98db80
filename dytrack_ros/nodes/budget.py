"""Chooses the exit policy and the time budget before every frame. Independent of ROS."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

from dytrack_ros.policies import BudgetState, ExitPolicy, ExitReason, FixedExit, FrameBudget
from dytrack_ros.policies.budget_source import BudgetSource, CameraPace, CameraPeriod, Overhead
from dytrack_ros.policies.frame_budget import MAX_BUDGET_S, MIN_BUDGET_S
from dytrack_ros.tracking import DyTracker

# Relative change of the budget below which it is kept, because each change moves the thresholds.
BUDGET_TOLERANCE = 0.01
# Number of frames of the reported mean time.
MEAN_FRAMES = 100
# In mode `camera`, the rate that is assumed until images come, Hz.
ASSUMED_CAMERA_HZ = 30.0


class _Values(Protocol):
    def __getitem__(self, name: str): ...


@dataclass(frozen=True)
class BudgetSettings:
    """Settings of exit policy and budget.

    Attributes:
        source: origin of the budget.
        fixed_exit: exit to take always (1-based), whatever the budget; None: none.
        thresholds: the asked thresholds; empty: those of the model.
        deadline_s: deadline of every frame; None: none.
        keep_period: in mode `camera`, make the camera's period (or the periods that a frame gets) a deadline too.
        deadline_sigmas: safety margin of the deadlines, see FrameBudget.
    """

    source: BudgetSource = field(default_factory=BudgetSource)
    fixed_exit: int | None = None
    thresholds: tuple[float, ...] = ()
    deadline_s: float | None = None
    deadline_sigmas: float = 3.0
    keep_period: bool = False

    @classmethod
    def of(cls, values: _Values) -> BudgetSettings:
        """Make the settings of the parameters `exit.*` and `budget.*`."""
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
            deadline_s=max(deadline_ms * 1e-3, MIN_BUDGET_S) if deadline_ms else None,
            deadline_sigmas=values["budget.deadline_sigmas"],
            keep_period=values["budget.keep_period"],
        )

    def limits_at_start(self) -> tuple[float | None, float | None]:
        """Return budget and deadline in seconds, None without, before images come: the camera is assumed."""
        period_s = 1 / ASSUMED_CAMERA_HZ
        return self.source.budget_s(period_s), self.deadline(period_s)

    def deadline(self, period_s: float | None) -> float | None:
        """Return the deadline of a frame that gets ``period_s`` seconds of the camera; None: none, or not known."""
        deadlines = [] if self.deadline_s is None else [self.deadline_s]
        if self.keep_period and self.source.mode == "camera" and period_s is not None:
            deadlines.append(min(max(period_s, MIN_BUDGET_S), MAX_BUDGET_S))
        return min(deadlines, default=None)


@dataclass(frozen=True)
class FrameTerms:
    """Budget (0: none), `thrift`, `slowdown` and thresholds of a frame, in force and asked; none with a fixed exit."""

    budget_s: float = 0.0
    thrift: float = 0.0
    slowdown: float = 1.0
    thresholds: tuple[float, ...] = ()
    asked_thresholds: tuple[float, ...] = ()


@dataclass(frozen=True)
class BudgetView:
    """A snapshot of the budget for log and diagnostics; times in seconds.

    Attributes:
        settings: those of the last frame; None before the first.
        state: None without a budget.
        period_s, periods: period of the camera (None: unknown), and the number of periods that a frame gets.
        first_exit_s, full_depth_s: present time of a frame at the first and at the last exit.
        mean_s: mean time of `track` over the last MEAN_FRAMES frames; 0 before the first.
        overhead_s: mean time of a frame beside `track`, until its box is published.
        deadline_misses: number of frames published after the deadline.
        exit_costs_s: time of each exit as measured at start, or when another engine took over.
        calibration_note: which calibration is used, or why there is none.
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

    def figures(self) -> dict[str, str]:
        """Return the values of the diagnostics, by key."""
        return {
            "budget_ms": f"{self.terms.budget_s * 1e3:.1f}",
            "budget_state": "none" if self.state in (None, BudgetState.UNLIMITED) else self.state.name,
            "budget_from": self._origin(),
            "thrift": f"{self.terms.thrift:.3f}",
            "slowdown": f"{self.terms.slowdown:.2f}",
            "mean_ms": f"{self.mean_s * 1e3:.1f}",
            "overhead_ms": f"{self.overhead_s * 1e3:.1f}",
            "deadline_misses": str(self.deadline_misses),
            "exit_costs_ms": self.exit_costs(),
            "calibration": self.calibration_note,
        }

    def exit_costs(self) -> str:
        """Return the measured time of every exit in ms, such as `61.0, 128.2, 197.4`."""
        return ", ".join(f"{seconds * 1e3:.1f}" for seconds in self.exit_costs_s)

    def sentence(self) -> str:
        """Compare the budget with the time of the exits; empty without a budget."""
        if self.state in (None, BudgetState.UNLIMITED) or self.settings is None:
            return ""
        source = self.settings.source
        budget_ms, first_ms = self.terms.budget_s * 1e3, self.first_exit_s * 1e3
        if self.state is BudgetState.INFEASIBLE:
            given = f"{source.rate_hz:g} Hz leave" if source.mode == "rate" else "the budget is"
            return f"{given} {budget_ms:.0f} ms, the first exit takes {first_ms:.0f} ms: always exit 1"
        if self.state is BudgetState.IDLE:
            last_ms = self.full_depth_s * 1e3
            return f"the budget is {budget_ms:.0f} ms, the last exit takes {last_ms:.0f} ms: the thresholds decide"
        if source.mode == "camera" and self.period_s is not None and self.periods > 1:
            return (
                f"the period of the camera is {self.period_s * 1e3:.0f} ms, the first exit takes {first_ms:.0f} ms: "
                f"{_share(self.periods)} is tracked, within {budget_ms:.0f} ms"
            )
        return f"the budget is {budget_ms:.0f} ms"

    def _origin(self) -> str:
        """Return the origin of the budget, or why there is none."""
        settings = self.settings
        if settings is None:
            return "no frame yet"
        if settings.fixed_exit:
            return f"none: exit.policy is fixed, exit {settings.fixed_exit}"
        source = settings.source
        if source.mode == "unlimited":
            return "none: budget.mode is unlimited"
        if source.mode == "rate":
            return f"rate, {source.rate_hz:g} Hz"
        if source.mode == "milliseconds":
            return f"milliseconds, {source.milliseconds:g} ms"
        if self.period_s is None:
            return "camera, its period is unknown (are its images stamped?): no limit"
        return f"camera, {_share(self.periods)} of {self.period_s * 1e3:.1f} ms"


def _share(frames: int) -> str:
    return "every frame" if frames == 1 else f"one frame in {frames}"


class NodeBudget:
    """Chooses the exit policy of every frame.

    One FrameBudget is kept until the engine changes, so that what it has learned outlives changes of the settings. The
    constructor measures the time of each exit, for about a second. `prepare` and `observe` are called by the tracking
    thread only; all other methods are thread-safe.
    """

    def __init__(self, tracker: DyTracker):
        self._lock = threading.Lock()
        self._exit_count = tracker.exit_count
        self._calibration_note = tracker.calibration_note
        self._period = CameraPeriod()
        self._overhead = Overhead()
        self._deadline_misses = 0
        self.terms = FrameTerms()
        self._begin(tracker)

    def _begin(self, tracker: DyTracker) -> None:
        """Start anew with the tracker's present engine."""
        self._engine_name = tracker.engine_name  # set first: a measurement that fails is not repeated for every frame
        exit_costs_s = tracker.exit_costs().answers
        frame_budget = FrameBudget(None)
        tracker.set_policy(frame_budget)
        with self._lock:
            self._engine_name = tracker.engine_name
            self._exit_costs_s = exit_costs_s
            self._frame_budget = frame_budget
            self._policy: ExitPolicy | None = None
            self._settings: BudgetSettings | None = None
            self._pace = CameraPace()
            self._tracked_s: deque[float] = deque(maxlen=MEAN_FRAMES)

    # ---- the camera

    def image_arrived(self, stamp_s: float) -> None:
        """Take the stamp of a received image, seconds; 0 if the camera does not stamp its images."""
        with self._lock:
            self._period.observe(stamp_s)

    def forget_camera(self) -> None:
        """Measure the camera's period anew, after a jump of its stamps."""
        with self._lock:
            self._period.restart()

    # ---- around a frame

    def prepare(self, tracker: DyTracker, settings: BudgetSettings) -> None:
        """Give the tracker its policy and budget for the next frame.

        If another engine has taken over, its exits are measured first, for about a second.
        """
        if tracker.engine_name != self._engine_name:
            self._begin(tracker)
        with self._lock:
            is_changed = settings is not self._settings
            self._settings = settings
            if not settings.fixed_exit:
                self._use(tracker, self._frame_budget)
                self._adjust(settings, is_changed)
            elif is_changed:
                self._use(tracker, FixedExit(settings.fixed_exit))
            self.terms = self._describe()

    def observe(self, tracked_s: float, answered_s: float) -> None:
        """Take the time of a frame: that of `track`, and that until its box was published."""
        with self._lock:
            self._overhead.observe(answered_s - tracked_s)
            self._tracked_s.append(tracked_s)
            if self._keeps_budget and answered_s > (self._frame_budget.deadline_s or float("inf")):
                self._deadline_misses += 1

    @property
    def reason(self) -> ExitReason:
        """Why the last tracked frame stopped, if it was not at the last exit."""
        return self._policy.reason if self._policy else ExitReason.QUALITY

    @property
    def _keeps_budget(self) -> bool:
        return self._policy is self._frame_budget

    def _budget_s(self, source: BudgetSource) -> float | None:
        first_exit_s = self._frame_budget.exit_seconds(1)
        return source.budget_s(self._period.seconds, self._overhead.seconds, first_exit_s, self._pace)

    def _use(self, tracker: DyTracker, policy: ExitPolicy) -> None:
        if policy is self._policy:
            return
        self._policy = policy
        tracker.set_policy(policy)

    def _adjust(self, settings: BudgetSettings, is_changed: bool) -> None:
        budget = self._frame_budget
        if is_changed and settings.thresholds:
            budget.thresholds = settings.thresholds
        budget_s, before_s = self._budget_s(settings.source), budget.budget_s
        if budget_s is None or before_s is None or is_changed or abs(budget_s / before_s - 1) > BUDGET_TOLERANCE:
            budget.budget_s = budget_s
        budget.overhead_s = self._overhead.seconds
        period_s = self._period.seconds  # _budget_s has updated the number of periods that a frame gets
        budget.deadline_s = settings.deadline(period_s and self._pace.frames * period_s)
        budget.deadline_sigmas = settings.deadline_sigmas

    def _describe(self) -> FrameTerms:
        if self._keeps_budget:
            budget = self._frame_budget
            return FrameTerms(
                budget.budget_s or 0.0,
                budget.thrift,
                budget.slowdown,
                budget.thresholds_in_force,
                budget.thresholds,
            )
        return FrameTerms()

    # ---- for the diagnostics

    def view(self) -> BudgetView:
        """Return a snapshot."""
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
