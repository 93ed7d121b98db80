"""What ``evaluate`` prints: a row a run, then what attributes and difficulty make of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from dytrack_ros.evaluation.plan import PlannedRun, start_name

HEADER = (
    f"{'variant':16} {'stream':>8} {'policy':15} {'AUC':>6} {'P':>6} {'Pnorm':>6} {'AO':>6} {'SR50':>6} {'SR75':>6} "
    f"{'score':>6} {'ms':>7} {'p95':>7} {'skipped':>8} {'latency':>8}  exits taken"
)


def row(planned: PlannedRun, mean: dict) -> str:
    """``mean`` is that of :func:`~dytrack_ros.evaluation.run.mean_over_sequences`."""
    rate, skipped, latency = "offline", "-", "-"
    if planned.stream_hz is not None:
        rate, skipped, latency = f"{planned.stream_hz:g} Hz", f"{mean['skipped']:.1%}", f"{mean['mean_latency_ms']:.1f}"
    return (
        f"{start_name(planned.variant, planned.init):16} {rate:>8} {planned.policy_name:15} "
        f"{_number(mean['success_auc'])} {_number(mean['precision'])} {_number(mean['normalised_precision'])} "
        f"{_number(mean['ao'])} {_number(mean['sr50'])} {_number(mean['sr75'])} "
        f"{_number(mean['mean_score'])} {mean['mean_ms']:7.1f} {mean['p95_ms']:7.1f} "
        f"{skipped:>8} {latency:>8}  {mean['exits']}"
    )


def budget_note(kept: dict) -> str:
    """A line below the row of a budget run, from :meth:`~dytrack_ros.evaluation.plan.Budget.compare`."""
    note = f"  all frames: {kept['mean_ms']:.1f} ms of {kept['budget_ms']:.1f} ms, p95 {kept['p95_ms']:.1f} ms"
    if kept["deadline_ms"] is not None:
        note += f", {kept['over_deadline']:.2%} over {kept['deadline_ms']:g} ms"
    return note


def absent_note(dataset: str, missed: dict) -> str:
    """A line below a row, for datasets whose toolkit counts frames without the target as missed."""
    return (
        f"  as {dataset}'s toolkit counts (missed where absent): AUC {_number(missed['success_auc'])}, "
        f"P {_number(missed['precision'])}, Pnorm {_number(missed['normalised_precision'])}"
    )


def attribute_table(entries: Iterable[dict]) -> str:
    """Success AUC of every run by attribute; empty where no sequence has any."""
    entries = list(entries)
    names = sorted({name for entry in entries for name in entry["by_attribute"]})

    def measure(entry: dict, name: str) -> float:
        return entry["by_attribute"][name]["success_auc"]

    counts = {name: entries[0]["by_attribute"][name]["sequences"] for name in names}
    return _table("AUC by attribute", "sequences", counts, entries, measure)


def level_table(entries: Iterable[dict], difficulties: Iterable[dict]) -> str:
    """Success AUC by difficulty, for each start that the levels were found for."""
    entries, tables = list(entries), []
    for difficulty in difficulties:
        start = (difficulty["variant"], difficulty["init"])
        own = [entry for entry in entries if (entry["variant"], entry["init"]) == start]
        counts = {level: found["frames"] for level, found in difficulty["levels"].items()}
        title = f"AUC by difficulty, {start_name(*start)}"
        tables.append(
            _table(title, "frames", counts, own, lambda entry, level: entry["by_level"][level]["success_auc"])
        )
    return "\n".join(tables)


def _table(title: str, unit: str, counts: dict, entries: list[dict], measure: Callable[[dict, str], float]) -> str:
    """A row for each key of ``counts``, a numbered column for each entry, and a line for each number."""
    if not counts:
        return ""
    legend = [f"  ({number}) {_label(entry)}" for number, entry in enumerate(entries, start=1)]
    width = max(len(title), *(len(str(name)) for name in counts))
    lines = [f"{title:{width}} {unit:>9} " + " ".join(f"{f'({n})':>6}" for n in range(1, len(entries) + 1))]
    lines += [
        f"{name!s:{width}} {count:9} " + " ".join(_number(measure(entry, name)) for entry in entries)
        for name, count in counts.items()
    ]
    return "\n".join(["", *lines, *legend])


def _label(entry: dict) -> str:
    rate = "offline" if entry["stream_hz"] is None else f"{entry['stream_hz']:g} Hz"
    return f"{start_name(entry['variant'], entry['init'])}, {rate}, {entry['policy']}"


def _number(value: float) -> str:
    return f"{'-':>6}" if math.isnan(value) else f"{value:6.3f}"
