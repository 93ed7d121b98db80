"""Runs a tracker over sequences and sums up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation import metrics
from dytrack_ros.tracking.tracker import DyTracker, TrackResult

OnFrame = Callable[[int, "TrackResult | None"], None]


@dataclass(frozen=True)
class SequenceRun:
    """One pass over a sequence: ``boxes`` (N, 4) for every frame (the first is what the tracker was started with),
    ``results`` of every frame that was tracked, ``initialize_s`` the seconds that starting took."""

    sequence: Sequence
    boxes: np.ndarray
    results: tuple[TrackResult, ...]
    initialize_s: float

    @property
    def tracked_frames(self) -> np.ndarray:
        """The number of the frame of each result (M,)."""
        return np.arange(1, len(self.results) + 1)

    def summary(self) -> dict:
        """The measures of this sequence; those over tracked frames are NaN where there is none, those against the truth
        where it is not known."""
        return {
            "name": self.sequence.name,
            "frames": len(self.sequence),
            "attributes": list(self.sequence.attributes),
            **metrics.measures(self.boxes, self.sequence.judged_truth),
            "mean_score": mean(result.score for result in self.results),
            **times_ms(result.seconds for result in self.results),
            "exits": dict(sorted(Counter(result.exit_index for result in self.results).items())),
        }

    def trace(self) -> dict:
        """Every frame's box and the scores of the exits that it reached, for figures and for choosing thresholds."""
        return {
            "boxes": self.boxes.round(2).tolist(),
            "exit_scores": [[round(score, 4) for score in result.exit_scores] for result in self.results],
        }


def run_sequence(tracker: DyTracker, sequence: Sequence, on_frame: OnFrame | None = None) -> SequenceRun:
    """Initialises on the first frame's truth, or the part of it that the sequence says, and tracks to the end (one-pass
    evaluation)."""
    boxes, results, initialize_s = [sequence.start_box], [], float("nan")
    for number, image in enumerate(sequence.images()):
        if number == 0:
            started = time.perf_counter()
            tracker.initialize(image, sequence.start_box)
            initialize_s = time.perf_counter() - started
            result = None
        else:
            result = tracker.track(image)
            boxes.append(np.asarray(result.box))
            results.append(result)
        if on_frame is not None:
            on_frame(number, result)
    return SequenceRun(sequence, np.stack(boxes), tuple(results), initialize_s)


MEASURES = (
    "success_auc", "mean_iou", "precision", "normalised_precision", "ao", "sr50", "sr75", "mean_score", "mean_ms", "p95_ms",
)  # fmt: skip
STREAM_MEASURES = ("skipped", "mean_latency_ms", "p95_latency_ms")


def mean_over_sequences(summaries: list[dict]) -> dict:
    """The mean of each measure over sequences (each sequence counts once, one without the measure not), and the exits
    of all frames. Summaries of streams have their own measures beside the others."""
    exits: Counter = Counter()
    for summary in summaries:
        exits.update(summary["exits"])
    measures = MEASURES + tuple(measure for measure in STREAM_MEASURES if measure in summaries[0])
    means = {measure: mean(summary[measure] for summary in summaries) for measure in measures}
    return {**means, "sequences": len(summaries), "exits": dict(sorted(exits.items()))}


def times_ms(seconds: Iterable[float], prefix: str = "") -> dict[str, float]:
    """Mean and 95th percentile in milliseconds."""
    values = 1e3 * np.fromiter(seconds, float)
    p95 = float(np.percentile(values, 95)) if len(values) else float("nan")
    return {f"mean_{prefix}ms": mean(values), f"p95_{prefix}ms": p95}


def mean(values: Iterable[float]) -> float:
    """The mean of the values that are numbers; NaN if there is none."""
    numbers = [value for value in values if not np.isnan(value)]
    return float(np.mean(numbers)) if numbers else float("nan")
