"""The budget in words and figures, for the log and the diagnostics."""

from __future__ import annotations

from dytrack_ros.nodes.budgeting import BudgetView
from dytrack_ros.policies import BudgetState


def figures(view: BudgetView) -> dict[str, str]:
    """The values of the diagnostics, by key."""
    return {
        "budget_ms": f"{view.terms.budget_s * 1e3:.1f}",
        "budget_state": view.state.name if view.state else "off",
        "budget_from": origin(view),
        "thrift": f"{view.terms.thrift:.3f}",
        "slowdown": f"{view.terms.slowdown:.2f}",
        "mean_ms": f"{view.mean_s * 1e3:.1f}",
        "overhead_ms": f"{view.overhead_s * 1e3:.1f}",
        "deadline_misses": str(view.deadline_misses),
        "exit_costs_ms": exit_costs(view),
        "calibration": view.calibration_note,
    }


def exit_costs(view: BudgetView) -> str:
    """What every exit cost when it was measured, as in `61.0, 128.2, 197.4` (ms)."""
    return ", ".join(f"{seconds * 1e3:.1f}" for seconds in view.exit_costs_s)


def origin(view: BudgetView) -> str:
    """Where the budget comes from, or why there is none."""
    settings = view.settings
    if settings is None:
        return "no frame yet"
    if settings.fixed_exit:
        return f"none: exit.policy is fixed, exit {settings.fixed_exit}"
    source = settings.source
    if source.mode == "off":
        return "none: budget.mode is off, exit.tau_1 and exit.tau_2 count"
    if source.mode == "rate":
        return f"rate, {source.rate_hz:g} Hz"
    if source.mode == "milliseconds":
        return f"milliseconds, {source.milliseconds:g} ms"
    if view.period_s is None:
        return "camera, its period is not known yet (does it stamp its images?): exit.tau_1 and exit.tau_2 count"
    return f"camera, {_share(view.periods)} of {view.period_s * 1e3:.1f} ms"


def sentence(view: BudgetView) -> str:
    """How the budget stands to what the exits take; empty where there is none."""
    if view.state is None or view.settings is None:
        return ""
    source = view.settings.source
    budget_ms, first_ms = view.terms.budget_s * 1e3, view.first_exit_s * 1e3
    if view.state is BudgetState.INFEASIBLE:
        given = f"{source.rate_hz:g} Hz leave" if source.mode == "rate" else "the budget is"
        return f"{given} {budget_ms:.0f} ms, the first exit takes {first_ms:.0f} ms: always exit 1"
    if view.state is BudgetState.IDLE:
        return f"the budget is {budget_ms:.0f} ms, full depth takes {view.full_depth_s * 1e3:.0f} ms: always full depth"
    if source.mode == "camera" and view.period_s is not None and view.periods > 1:
        return (
            f"the camera gives {view.period_s * 1e3:.0f} ms a frame, the first exit takes {first_ms:.0f} ms: "
            f"{_share(view.periods)} is worked on, within {budget_ms:.0f} ms"
        )
    return f"the budget is {budget_ms:.0f} ms"


def _share(frames: int) -> str:
    return "every frame" if frames == 1 else f"one frame in {frames}"
