"""A run taken apart: by attribute of the sequences, by exit taken, by how difficult a frame is for exit 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.all_exits import AllExitsRun
from dytrack_ros.evaluation.reliability import reliability
from dytrack_ros.evaluation.run import SequenceRun, mean, mean_over_sequences
from dytrack_ros.tracking.box import iou

LEVELS = tuple(range(1, len(metrics.LEVEL_EDGES)))


def by_attribute(summaries: Sequence[dict]) -> dict[str, dict]:
    """For each attribute, what :func:`mean_over_sequences` says of the sequences that have it."""
    names = sorted({name for summary in summaries for name in summary["attributes"]})
    return {name: mean_over_sequences([s for s in summaries if name in s["attributes"]]) for name in names}


def missed_where_absent(summaries: Sequence[dict]) -> dict[str, float]:
    """Success and precision as toolkits have them that count a frame without the target as missed."""
    measures = ("success_auc", "precision", "normalised_precision")
    return {measure: mean(summary[measure] * summary["present"] for summary in summaries) for measure in measures}


def pooled(runs: Iterable[SequenceRun]) -> dict[str, float]:
    """AO and SR over all frames of all sequences alike, as GOT-10k's toolkit counts them."""
    return _overlap_measures(np.concatenate([metrics.overlaps(r.boxes[1:], r.sequence.judged_truth[1:]) for r in runs]))


def curves(runs: Sequence[SequenceRun]) -> dict[str, list[float]]:
    """Success and precision at every threshold (those of :mod:`metrics`), means over the sequences with a target."""
    pairs = [
        (run.boxes, run.sequence.judged_truth) for run in runs if metrics.is_present(run.sequence.judged_truth).any()
    ]
    of_sequences = {
        "success": [metrics.success_curve(metrics.overlaps(*pair)) for pair in pairs],
        "precision": [metrics.precision_curve(*pair) for pair in pairs],
        "normalised_precision": [metrics.normalised_precision_curve(*pair) for pair in pairs],
    }
    return {name: np.mean(found, axis=0).tolist() if found else [] for name, found in of_sequences.items()}


def by_exit(runs: Iterable[SequenceRun]) -> dict[int, dict]:
    """For each exit that was taken: its ``share`` of the tracked frames, its mean score, and, on the ``frames`` with a
    known target, how good the boxes were that it gave and how far its scores were to be believed."""
    exits, scores, ious = [], [], []
    for run in runs:
        if run.results:
            exits.extend(result.exit_index for result in run.results)
            scores.extend(result.score for result in run.results)
            truth = run.sequence.judged_truth[run.tracked_frames]
            ious.extend(iou_or_nan([result.box for result in run.results], truth))
    exits, scores, ious = np.array(exits, int), np.array(scores), np.array(ious)
    return {
        int(index): {
            "share": float((exits == index).mean()),
            "mean_score": float(scores[exits == index].mean()),
            **_frame_measures(ious[exits == index]),
            "reliability": reliability(scores[exits == index], ious[exits == index]),
        }
        for index in np.unique(exits)
    }


def by_level(runs: Iterable[SequenceRun], levels: dict[str, np.ndarray]) -> dict[int, dict]:
    """For each difficulty level (1, the easiest, to 5): how good a run is on its frames, and the exits taken there.

    ``levels`` holds each sequence's by name, (N,), 0 where a frame has none.
    """
    ious, exits, of_iou, of_exit = [], [], [], []
    for run in runs:
        own = levels[run.sequence.name]
        ious.extend(iou_or_nan(run.boxes, run.sequence.judged_truth))
        of_iou.extend(own)
        exits.extend(result.exit_index for result in run.results)
        of_exit.extend(own[run.tracked_frames])
    ious, of_iou, exits, of_exit = np.array(ious), np.array(of_iou), np.array(exits, int), np.array(of_exit)
    return {
        level: {
            **_frame_measures(ious[of_iou == level]),
            "exits": dict(sorted(Counter(exits[of_exit == level].tolist()).items())),
        }
        for level in LEVELS
    }


def difficulty_entry(runs: Sequence[AllExitsRun]) -> dict:
    """Of a pass of all exits: for each level its range of exit 1's IoU, its frames, and every exit's mean IoU on them;
    how far each exit's scores are to be believed; each sequence's IoUs, a row a frame."""
    ious, scores = np.concatenate([run.ious for run in runs]), np.concatenate([run.scores for run in runs])
    levels = metrics.levels(ious[:, 0])
    edges = metrics.LEVEL_EDGES
    return {
        "levels": {
            level: {
                "exit_1_iou": [edges[-level - 1], edges[-level]],
                "frames": int((levels == level).sum()),
                "share": mean([float((levels[levels > 0] == level).mean())] if (levels > 0).any() else []),
                "mean_iou_by_exit": [mean(column) for column in ious[levels == level].T],
            }
            for level in LEVELS
        },
        "mean_iou_by_exit": [mean(column) for column in ious.T],
        "reliability_by_exit": [reliability(*columns) for columns in zip(scores.T, ious.T, strict=True)],
        "sequences": [{"name": run.sequence.name, "exit_ious": run.ious.round(4).tolist()} for run in runs],
    }


def levels_by_sequence(runs: Iterable[AllExitsRun]) -> dict[str, np.ndarray]:
    return {run.sequence.name: metrics.levels(run.ious[:, 0]) for run in runs}


def iou_or_nan(boxes, truth: np.ndarray) -> np.ndarray:
    """IoU (N,) of boxes with the truth (N, 4), NaN where that is."""
    return np.where(metrics.is_present(truth), iou(boxes, np.nan_to_num(truth)), np.nan)


def _frame_measures(ious: np.ndarray) -> dict[str, float]:
    known = ious[~np.isnan(ious)]
    return {"frames": len(known), "success_auc": metrics.success_auc(known), **_overlap_measures(known)}


def _overlap_measures(ious: np.ndarray) -> dict[str, float]:
    return {
        "ao": metrics.mean_overlap(ious),
        "sr50": metrics.success_rate(ious, 0.5),
        "sr75": metrics.success_rate(ious, 0.75),
    }
