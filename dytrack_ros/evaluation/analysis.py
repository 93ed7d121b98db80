"""Break runs down: by attribute, by exit taken, by difficulty; run all exits on every frame; score reliability."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Several
from dataclasses import dataclass

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.run import OnFrame, SequenceRun, mean, mean_over_sequences
from dytrack_ros.evaluation.threshold_search import ExitSample
from dytrack_ros.tracking import DyTracker
from dytrack_ros.tracking.box import iou

LEVELS = tuple(range(1, len(metrics.LEVEL_EDGES)))
BIN_EDGES = np.linspace(0, 1, 11)

# --- all exits on every frame -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AllExitsRun:
    """The answers of all K exits on every frame: ``scores`` (N, K), ``boxes`` (N, K, 4) in pixels; NaN on frame 0."""

    sequence: Sequence
    scores: np.ndarray
    boxes: np.ndarray

    @property
    def ious(self) -> np.ndarray:
        """(N, K); NaN on the init frame and where the target is absent."""
        truth = self.sequence.judged_truth[:, None]
        known = metrics.is_present(self.sequence.judged_truth)[:, None] & ~np.isnan(self.scores)
        return np.where(known, iou(np.nan_to_num(self.boxes), np.nan_to_num(truth)), np.nan)


def run_all_exits(tracker: DyTracker, sequence: Sequence, on_frame: OnFrame | None = None) -> AllExitsRun:
    """Run every exit on the same crop of each frame; the tracker follows the last exit's box.

    The IoU of exit 1 then measures a frame's difficulty, whichever exit another run takes there.
    """
    count = tracker.exit_count
    scores, boxes = np.full((len(sequence), count), np.nan), np.full((len(sequence), count, 4), np.nan)
    for number, image in enumerate(sequence.images()):
        if number == 0:
            tracker.initialize(image, sequence.start_box)
        else:
            scores[number], boxes[number] = tracker.predict_all_exits(image)
            tracker.box = _as_box(boxes[number, -1])
        if on_frame is not None:
            on_frame(number, None)
    return AllExitsRun(sequence, scores, boxes)


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
                    tracker.box = _as_box(truth)
        on_frame()
    return samples


def _as_box(values: np.ndarray) -> tuple[float, float, float, float]:
    x, y, w, h = (float(value) for value in values)
    return x, y, w, h


# --- breakdown of runs ------------------------------------------------------------------------------------------------


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


def curves(runs: Several[SequenceRun]) -> dict[str, list[float]]:
    """Return the success and precision curves of :mod:`metrics`, means over the sequences that show a target."""
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


def by_level(runs: Iterable[SequenceRun], levels: dict[str, np.ndarray]) -> dict[int, dict]:
    """Return accuracy and exits taken for each difficulty level, 1 (the easiest) to 5.

    ``levels`` has each sequence's levels (N,) by its name; 0: unknown.
    """
    ious: list[float] = []
    iou_levels: list[int] = []
    exits: list[int] = []
    exit_levels: list[int] = []
    for run in runs:
        own = levels[run.sequence.name]
        ious.extend(iou_or_nan(run.boxes, run.sequence.judged_truth))
        iou_levels.extend(own)
        exits.extend(result.exit_index for result in run.results)
        exit_levels.extend(own[run.tracked_frames])
    return {
        level: {
            **_frame_measures(np.array(ious)[np.array(iou_levels) == level]),
            "exits": dict(sorted(Counter(np.array(exits, np.int64)[np.array(exit_levels) == level].tolist()).items())),
        }
        for level in LEVELS
    }


def difficulty_entry(runs: Several[AllExitsRun]) -> dict:
    """Return the report of an all-exits pass.

    For each level the range of exit 1's IoU, the frames and every exit's mean IoU on them; for each exit its mean IoU
    and score reliability; for each sequence its IoUs, one row a frame.
    """
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


# --- reliability of predicted IoUs ------------------------------------------------------------------------------------


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
    return {
        "frames": len(scores),
        "mean_score": mean(scores),
        "mean_iou": mean(ious),
        "calibration_error": _calibration_error(bins),
        "bins": bins,
    }


def pooled_reliability(parts: Iterable[dict]) -> dict:
    """Return :func:`reliability` of the frames of all ``parts`` together."""
    parts = list(parts)
    bins = [
        {"from": same[0]["from"], "to": same[0]["to"], **_weighted_means(same)}
        for same in zip(*(part["bins"] for part in parts), strict=True)
    ]
    return {**_weighted_means(parts), "calibration_error": _calibration_error(bins), "bins": bins}


def _calibration_error(bins: list[dict]) -> float:
    frames = sum(each["frames"] for each in bins)
    distances = [each["frames"] * abs(each["mean_score"] - each["mean_iou"]) for each in bins if each["frames"]]
    return sum(distances) / frames if frames else float("nan")


def _weighted_means(parts: Several[dict]) -> dict:
    frames = sum(part["frames"] for part in parts)

    def over_frames(name: str) -> float:
        return sum(part["frames"] * part[name] for part in parts if part["frames"]) / frames if frames else float("nan")

    return {"frames": frames, "mean_score": over_frames("mean_score"), "mean_iou": over_frames("mean_iou")}
