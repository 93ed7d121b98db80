"""Runs a tracker over sequences and sums up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.datasets import Sequence
from dytrack_ros.tracking.tracker import DyTracker, TrackResult


@dataclass(frozen=True)
class SequenceRun:
    """One pass over a sequence: a box for every frame (the first is the truth), and every later frame's result."""

    sequence: Sequence
    boxes: np.ndarray
    results: tuple[TrackResult, ...]

    def summary(self) -> dict:
        """The measures of this sequence."""
        truth = self.sequence.truth
        ious = metrics.overlaps(self.boxes, truth)
        return {
            "name": self.sequence.name,
            "frames": len(self.sequence),
            "success_auc": metrics.success_auc(ious),
            "mean_iou": float(ious.mean()),
            "precision": metrics.precision(self.boxes, truth),
            "normalised_precision": metrics.normalised_precision(self.boxes, truth),
            "mean_score": float(np.mean([result.score for result in self.results])),
            "mean_ms": 1e3 * float(np.mean([result.seconds for result in self.results])),
            "exits": dict(sorted(Counter(result.exit_index for result in self.results).items())),
        }

    def trace(self) -> dict:
        """Every frame's box and the scores of the exits that it reached, for figures and for choosing thresholds."""
        return {
            "boxes": self.boxes.round(2).tolist(),
            "exit_scores": [[round(score, 4) for score in result.exit_scores] for result in self.results],
        }


def run_sequence(
    tracker: DyTracker, sequence: Sequence, on_frame: Callable[[int, TrackResult | None], None] | None = None
) -> SequenceRun:
    """Initialises on the first frame's truth and tracks to the end (one-pass evaluation)."""
    boxes, results = [sequence.truth[0]], []
    for number, image in enumerate(sequence.images()):
        if number == 0:
            tracker.initialize(image, sequence.truth[0])
            result = None
        else:
            result = tracker.track(image)
            boxes.append(np.asarray(result.box))
            results.append(result)
        if on_frame is not None:
            on_frame(number, result)
    return SequenceRun(sequence, np.stack(boxes), tuple(results))


MEASURES = ("success_auc", "mean_iou", "precision", "normalised_precision", "mean_score", "mean_ms")


def mean_over_sequences(summaries: list[dict]) -> dict:
    """The mean of each measure over sequences (each sequence counts once), and the exits of all frames."""
    exits: Counter = Counter()
    for summary in summaries:
        exits.update(summary["exits"])
    means = {measure: float(np.mean([summary[measure] for summary in summaries])) for measure in MEASURES}
    return {**means, "sequences": len(summaries), "exits": dict(sorted(exits.items()))}
