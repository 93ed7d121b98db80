"""What ``evaluate`` prints: a row a run."""

from __future__ import annotations

from dytrack_ros.evaluation.plan import PlannedRun

HEADER = (
    f"{'variant':12} {'stream':>8} {'policy':15} {'AUC':>6} {'P':>6} {'Pnorm':>6} {'score':>6} {'ms':>7} {'p95':>7} "
    f"{'skipped':>8} {'latency':>8}  exits taken"
)


def row(planned: PlannedRun, mean: dict) -> str:
    """``mean`` is that of :func:`~dytrack_ros.evaluation.run.mean_over_sequences`."""
    rate, skipped, latency = "offline", "-", "-"
    if planned.stream_hz is not None:
        rate, skipped, latency = f"{planned.stream_hz:g} Hz", f"{mean['skipped']:.1%}", f"{mean['mean_latency_ms']:.1f}"
    return (
        f"{planned.variant:12} {rate:>8} {planned.policy_name:15} {mean['success_auc']:6.3f} {mean['precision']:6.3f} "
        f"{mean['normalised_precision']:6.3f} {mean['mean_score']:6.3f} {mean['mean_ms']:7.1f} {mean['p95_ms']:7.1f} "
        f"{skipped:>8} {latency:>8}  {mean['exits']}"
    )


def budget_note(kept: dict) -> str:
    """A line below the row of a budget run, from :meth:`~dytrack_ros.evaluation.plan.Budget.compare`."""
    note = f"  all frames: {kept['mean_ms']:.1f} ms of {kept['budget_ms']:.1f} ms, p95 {kept['p95_ms']:.1f} ms"
    if kept["deadline_ms"] is not None:
        note += f", {kept['over_deadline']:.2%} over {kept['deadline_ms']:g} ms"
    return note
