"""What ``evaluate`` writes: the report of all runs and the accuracy in a model card."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from dytrack_ros.evaluation.breakdown import by_attribute, by_exit, by_level, curves, missed_where_absent, pooled
from dytrack_ros.evaluation.plan import PlannedRun
from dytrack_ros.evaluation.run import SequenceRun, mean_over_sequences
from dytrack_ros.policies import ExitPolicy, FixedThresholds
from dytrack_ros.tracking import TrackerConfig

ACCURACY_MEASURES = ("success_auc", "precision", "normalised_precision", "mean_score", "mean_iou")


def report_entry(
    planned: PlannedRun,
    runs: list[SequenceRun],
    permitted_latency: float,
    levels: dict[str, np.ndarray] | None = None,
) -> dict:
    """One run of the report: its means, also by attribute, by exit and, with the ``levels`` of the frames, by difficulty;
    its budget if it has one, and every sequence's measures and trace."""
    summaries = [run.summary() for run in runs]
    is_stream = planned.stream_hz is not None
    entry = {
        "variant": planned.variant,
        "init": planned.init,
        "policy": planned.policy_name,
        "stream_hz": planned.stream_hz,
        "permitted_latency": permitted_latency if is_stream else None,
        "mean": mean_over_sequences(summaries),
        "mean_missed_where_absent": missed_where_absent(summaries),
        "pooled": pooled(runs),
        "curves": curves(runs),
        "by_attribute": by_attribute(summaries),
        "by_exit": by_exit(runs),
    }
    if levels is not None:
        entry["by_level"] = by_level(runs, levels)
    if planned.budget:
        entry["budget"] = planned.budget.compare(result for run in runs for result in run.results)
    entry["sequences"] = [summary | run.trace() for summary, run in zip(summaries, runs, strict=True)]
    return entry


def json_text(value) -> str:
    """JSON, which has no NaN: null instead."""

    def without_nan(part):
        if isinstance(part, dict):
            return {key: without_nan(inner) for key, inner in part.items()}
        if isinstance(part, list):
            return [without_nan(inner) for inner in part]
        return None if isinstance(part, float) and math.isnan(part) else part

    return json.dumps(without_nan(value), allow_nan=False)


def rounded(value, digits: int = 4):
    """What JSON can hold, with every float in it rounded."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    return [rounded(item, digits) for item in value] if isinstance(value, list) else value


def add_to_card(
    card_file: Path, policy: ExitPolicy, entry: dict, init_correction: float = TrackerConfig.init_correction
) -> None:
    """Puts the accuracy of a run, of which ``entry`` is the :func:`report_entry`, into a model card, with the calibration
    error of each exit that was taken. Times stay out of it: they belong to a machine."""
    card = json.loads(card_file.read_text())
    accuracy = {measure: round(value, 4) for measure, value in entry["mean"].items() if measure in ACCURACY_MEASURES}
    errors = {index: found["reliability"]["calibration_error"] for index, found in entry["by_exit"].items()}
    accuracy["calibration_error"] = {index: round(error, 4) for index, error in errors.items() if not math.isnan(error)}
    accuracy["init_correction"] = init_correction
    if isinstance(policy, FixedThresholds):
        accuracy["thresholds"] = policy.thresholds
        if policy.trust.shifts:
            accuracy["trust"] = {"rate": policy.trust.rate, "impatience": policy.trust.impatience}
        accuracy["exits"] = entry["mean"]["exits"]
    card.setdefault("evaluation", {}).setdefault(entry["variant"], {})[entry["policy"]] = accuracy
    card_file.write_text(json.dumps(card, indent=2) + "\n")
