"""Break runs down by attribute and by exit taken; score reliability; samples for the choice of thresholds."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Several

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.run import SequenceRun, mean, mean_over_sequences
from dytrack_ros.evaluation.threshold_search import ExitSample
from dytrack_ros.tracking import DyTracker
from dytrack_ros.tracking.box import iou

BIN_EDGES = np.linspace(0, 1, 11)


def sample_exits(
    tracker: DyTracker, sequence: Sequence, seed: int = 0, on_frame: Callable[[], None] = lambda: None
) -> list[ExitSample]:
    """Return every exit's score and true IoU on the frames that show the target, for the choice of thresholds.

    The tracker follows a random exit on each frame, so that crops are as good as those of a mix of exits. A lost target
    (IoU 0) is set to the truth on the next frame that shows it.
    """
    drawn = random.Random(f"{seed} {sequence.name}")
    samples: list[ExitSample] = []
    for number, image in enumerate(sequence.images()):
        truth = sequence.truth[number]
        if number == 0:
            tracker.initialize(image, truth)
        else:
            scores, boxes = tracker.predict_all_exits(image)
            followed = drawn.randrange(len(boxes))
            tracker.box = boxes[followed]
            if not np.isnan(truth).any():
                ious = [float(value) for value in iou(np.array(boxes), truth)]
                samples.append(ExitSample(tuple(round(s, 5) for s in scores), tuple(round(i, 5) for i in ious)))
                if ious[followed] == 0:
                    x, y, w, h = map(float, truth)
                    tracker.box = (x, y, w, h)
        on_frame()
    return samples


def by_attribute(summaries: Several[dict]) -> dict[str, dict]:
    """Return :func:`mean_over_sequences` of the sequences with each attribute."""
    names = sorted({name for summary in summaries for name in summary["attributes"]})
    return {name: mean_over_sequences([s for s in summaries if name in s["attributes"]]) for name in names}


def missed_where_absent(summaries: Several[dict]) -> dict[str, float]:
    """Return success and precision of toolkits that count a frame without the target as a miss."""
    measures = ("success_auc", "precision", "normalised_precision")
    return {measure: mean(summary[measure] * summary["present"] for summary in summaries) for measure in measures}


def pooled(runs: Iterable[SequenceRun]) -> dict[str, float]:
    """Return AO and SR over all frames of all sequences, as GOT-10k's toolkit does."""
    return _overlap_measures(np.concatenate([metrics.overlaps(r.boxes[1:], r.sequence.judged_truth[1:]) for r in runs]))


def success_curve(runs: Iterable[SequenceRun]) -> list[float]:
    """Return :func:`metrics.success_curve`, its mean over the sequences that show a target; NaN without any."""
    curves = [metrics.success_curve(metrics.overlaps(run.boxes, run.sequence.judged_truth)) for run in runs]
    known = [curve for curve in curves if not np.isnan(curve).any()]
    return np.mean(known or curves, axis=0).tolist()


def by_exit(runs: Iterable[SequenceRun]) -> dict[int, dict]:
    """Return for each exit taken: its share of the tracked frames, mean score, accuracy and score reliability.

    Accuracy and reliability count the ``frames`` with a known target.
    """
    exits: list[int] = []
    scores: list[float] = []
    ious: list[float] = []
    for run in runs:
        if run.results:
            exits.extend(result.exit_index for result in run.results)
            scores.extend(result.score for result in run.results)
            truth = run.sequence.judged_truth[run.tracked_frames]
            ious.extend(iou_or_nan(np.array([result.box for result in run.results]), truth))
    exit_of, score_of, iou_of = np.array(exits, np.int64), np.array(scores), np.array(ious)
    return {
        int(index): {
            "share": float((exit_of == index).mean()),
            "mean_score": float(score_of[exit_of == index].mean()),
            **_frame_measures(iou_of[exit_of == index]),
            "reliability": reliability(score_of[exit_of == index], iou_of[exit_of == index]),
        }
        for index in np.unique(exit_of)
    }


def iou_or_nan(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the IoU (N,) of boxes with the truth (N, 4); NaN where the target is absent."""
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


def reliability(scores: np.ndarray, ious: np.ndarray) -> dict:
    """Compare scores with true IoUs, both (N,) in [0, 1], in ten bins of the score. Frames with a NaN IoU are left out.

    A score on an edge belongs to the bin above it, 1 to the last. ``calibration_error`` is the expected calibration
    error (Naeini et al., AAAI 2015) with the IoU in place of the accuracy: the mean over frames of the difference
    between mean score and mean IoU of their bin; NaN without frames.
    """
    known = ~(np.isnan(scores) | np.isnan(ious))
    scores, ious = scores[known], ious[known]
    of_bin = np.searchsorted(BIN_EDGES[1:-1], scores, side="right")
    bins = [
        {
            "from": round(float(low), 3),
            "to": round(float(high), 3),
            "frames": int((of_bin == index).sum()),
            "mean_score": mean(scores[of_bin == index]),
            "mean_iou": mean(ious[of_bin == index]),
        }
        for index, (low, high) in enumerate(itertools.pairwise(BIN_EDGES))
    ]
    counts = [each["frames"] for each in bins]
    distances = [abs(each["mean_score"] - each["mean_iou"]) if each["frames"] else 0.0 for each in bins]
    return {
        "frames": len(scores),
        "mean_score": mean(scores),
        "mean_iou": mean(ious),
        "calibration_error": float(np.average(distances, weights=counts)) if len(scores) else float("nan"),
        "bins": bins,
    }
