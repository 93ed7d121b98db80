"""The report of ``dytrack evaluate``: entries for JSON, the printed tables, and the accuracy in a model card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

from dytrack_ros.evaluation.analysis import by_attribute, by_exit, missed_where_absent, pooled, success_curve
from dytrack_ros.evaluation.run import SequenceRun, mean_over_sequences
from dytrack_ros.evaluation.run_matrix import RunSpec
from dytrack_ros.policies import ExitPolicy, FixedThresholds
from dytrack_ros.tracking import TrackerConfig

ACCURACY_MEASURES = ("success_auc", "precision", "normalised_precision", "mean_score", "mean_iou")
HEADER = (
    f"{'variant':16} {'stream':>8} {'policy':15} {'AUC':>6} {'95 %':>11} {'P':>6} {'Pnorm':>6} {'AO':>6} {'SR50':>6} "
    f"{'SR75':>6} {'score':>6} {'ms':>7} {'p95':>7} {'skipped':>8} {'latency':>8}  exits taken"
)


def report_entry(spec: RunSpec, runs: list[SequenceRun], permitted_latency: float) -> dict:
    """Return the entry of one run.

    It has the means over sequences, also by attribute and by exit; the budget if there is one; every sequence's
    measures and trace.
    """
    summaries = [run.summary() for run in runs]
    entry = {
        "variant": spec.variant,
        "policy": spec.policy_name,
        "is_peer": spec.is_peer,
        "stream_hz": spec.stream_hz,
        "permitted_latency": None if spec.stream_hz is None else permitted_latency,
        "mean": mean_over_sequences(summaries),
        "mean_missed_where_absent": missed_where_absent(summaries),
        "pooled": pooled(runs),
        "success_curve": success_curve(runs),
        "by_attribute": by_attribute(summaries),
        "by_exit": by_exit(runs),
    }
    if spec.budget:
        entry["budget"] = spec.budget.compare(result for run in runs for result in run.results)
    entry["sequences"] = [summary | run.trace() for summary, run in zip(summaries, runs, strict=True)]
    return entry


def json_text(value) -> str:
    """Return JSON with null in place of NaN."""

    def without_nan(part):
        if isinstance(part, dict):
            return {key: without_nan(inner) for key, inner in part.items()}
        if isinstance(part, list):
            return [without_nan(inner) for inner in part]
        return None if isinstance(part, float) and math.isnan(part) else part

    return json.dumps(without_nan(value), allow_nan=False)


TRACKER_SETTINGS = ("init_correction", "entering_growth", "motion_prior", "size_damping")


def add_to_card(
    card_file: Path,
    policy: ExitPolicy | None,
    entry: dict,
    config: TrackerConfig,
    set_name: str = "",
) -> None:
    """Write the accuracy of a run's ``entry`` and each exit's calibration error into a model card.

    ``set_name`` precedes the variant where several sets are evaluated. Times belong to a machine and are left out.
    """
    card = json.loads(card_file.read_text())
    accuracy = {measure: round(value, 4) for measure, value in entry["mean"].items() if measure in ACCURACY_MEASURES}
    errors = {index: found["reliability"]["calibration_error"] for index, found in entry["by_exit"].items()}
    accuracy["calibration_error"] = {index: round(error, 4) for index, error in errors.items() if not math.isnan(error)}
    accuracy |= {name: getattr(config, name) for name in TRACKER_SETTINGS}
    if isinstance(policy, FixedThresholds):
        accuracy["thresholds"] = policy.thresholds
        accuracy["exits"] = entry["mean"]["exits"]
    section = " ".join(filter(None, [set_name, entry["variant"]]))
    card.setdefault("evaluation", {}).setdefault(section, {})[entry["policy"]] = accuracy
    card_file.write_text(json.dumps(card, indent=2) + "\n")


# --- printed tables ---------------------------------------------------------------------------------------------------


def row(entry: dict) -> str:
    """Return the line of a run below :data:`HEADER`."""
    mean, rate, skipped, latency = entry["mean"], "offline", "-", "-"
    if entry["stream_hz"] is not None:
        rate, skipped, latency = (
            f"{entry['stream_hz']:g} Hz",
            f"{mean['skipped']:.1%}",
            f"{mean['mean_latency_ms']:.1f}",
        )
    low, high = mean["success_auc_interval"]
    interval = f"{'-':>11}" if math.isnan(low) else f"{low:.3f}-{high:.3f}"
    return (
        f"{entry['variant']:16} {rate:>8} {entry['policy']:15} "
        f"{_number(mean['success_auc'])} {interval} {_number(mean['precision'])} "
        f"{_number(mean['normalised_precision'])} {_number(mean['ao'])} {_number(mean['sr50'])} "
        f"{_number(mean['sr75'])} "
        f"{_number(mean['mean_score'])} {mean['mean_ms']:7.1f} {mean['p95_ms']:7.1f} "
        f"{skipped:>8} {latency:>8}  {'-' if entry['is_peer'] else mean['exits']}"
    )


def budget_note(compared: dict) -> str:
    """Return the line below the row of a budget run, from :meth:`Budget.compare`."""
    note = (
        f"  all frames: {compared['mean_ms']:.1f} ms of {compared['budget_ms']:.1f} ms, p95 {compared['p95_ms']:.1f} ms"
    )
    if compared["deadline_ms"] is not None:
        note += f", {compared['over_deadline']:.2%} over {compared['deadline_ms']:g} ms"
    return note


def absent_note(dataset: str, missed: dict) -> str:
    """Return the line below a row for a dataset whose toolkit counts frames without the target as misses."""
    return (
        f"  as {dataset}'s toolkit counts (missed where absent): AUC {_number(missed['success_auc'])}, "
        f"P {_number(missed['precision'])}, Pnorm {_number(missed['normalised_precision'])}"
    )


def sets_table(sets: Iterable[dict]) -> str:
    """Return success AUC with its 95 % interval: one row a run, one column a set. Empty for a single set."""
    sets = list(sets)
    if len(sets) < 2:
        return ""
    labels = list(dict.fromkeys(_label(run) for each in sets for run in each["runs"]))
    cells = {(each["name"], _label(run)): _auc_cell(run["mean"]) for each in sets for run in each["runs"]}
    columns = [f"{each['name']} ({each['runs'][0]['mean']['sequences']})" for each in sets]
    left, width = max(map(len, labels)), max(20, *map(len, columns))
    lines = [f"{'AUC, 95 % interval':{left}} " + " ".join(f"{column:>{width}}" for column in columns)]
    for label in labels:
        of_sets = (cells.get((each["name"], label), "-") for each in sets)
        lines.append(f"{label:{left}} " + " ".join(f"{cell:>{width}}" for cell in of_sets))
    return "\n".join(["", *lines])


def _auc_cell(mean: dict) -> str:
    low, high = mean["success_auc_interval"]
    return "-" if math.isnan(low) else f"{mean['success_auc']:.3f} ({low:.3f}-{high:.3f})"


def _label(entry: dict) -> str:
    rate = "offline" if entry["stream_hz"] is None else f"{entry['stream_hz']:g} Hz"
    return f"{entry['variant']}, {rate}, {entry['policy']}"


def _number(value: float) -> str:
    return f"{'-':>6}" if math.isnan(value) else f"{value:6.3f}"
