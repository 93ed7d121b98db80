"""Run a tracker over a sequence frame by frame (one-pass evaluation) and summarise runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation import metrics
from dytrack_ros.tracking import TrackResult
from dytrack_ros.tracking.box import AnyBox

OnFrame = Callable[[int, "TrackResult | None"], None]


class Tracker(Protocol):
    """What a run needs of a tracker: images are BGR uint8 (H, W, 3), boxes x, y, w, h in pixels."""

    def initialize(self, image_bgr: np.ndarray, box: AnyBox) -> None: ...

    def track(self, image_bgr: np.ndarray) -> TrackResult: ...


@dataclass(frozen=True)
class SequenceRun:
    """One pass over a sequence of N frames.

    Attributes:
        boxes: (N, 4), x, y, w, h in pixels; the first is the init box.
        results: of the tracked frames, in order.
        initialize_s: seconds of ``initialize``.
    """

    sequence: Sequence
    boxes: np.ndarray
    results: tuple[TrackResult, ...]
    initialize_s: float

    @property
    def tracked_frames(self) -> np.ndarray:
        """The frame number of each of the M results: (M,)."""
        return np.arange(1, len(self.results) + 1)

    def summary(self) -> dict:
        """Return the measures of this sequence by name; NaN without tracked frames or without ground truth."""
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
        """Return every frame's box and exit scores, ready for JSON."""
        return {
            "boxes": self.boxes.round(2).tolist(),
            "exit_scores": [[round(score, 4) for score in result.exit_scores] for result in self.results],
        }


def run_sequence(tracker: Tracker, sequence: Sequence, on_frame: OnFrame | None = None) -> SequenceRun:
    """Initialise on the first frame with the sequence's start box, then track every frame.

    ``on_frame`` is called with each frame's number and result, None for the first.
    """
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
    "success_auc", "mean_iou", "precision", "normalised_precision", "ao", "sr50", "sr75", "mean_score", "mean_ms",
    "p95_ms",
)  # fmt: skip
STREAM_MEASURES = ("skipped", "mean_latency_ms", "p95_latency_ms")


def mean_over_sequences(summaries: list[dict]) -> dict:
    """Return the mean of each measure over sequences, and the number of frames of each exit.

    Each sequence counts once, with the mean of its starts; NaN is left out. ``success_auc_interval`` is the 95 %
    bootstrap interval over sequences.
    """
    exits: Counter = Counter()
    sequences: dict[str, list[dict]] = {}
    for summary in summaries:
        exits.update(summary["exits"])
        sequences.setdefault(summary["name"], []).append(summary)

    def of_sequences(measure: str) -> list[float]:
        return [mean(summary[measure] for summary in starts) for starts in sequences.values()]

    measures = MEASURES + tuple(measure for measure in STREAM_MEASURES if measure in summaries[0])
    means = {measure: mean(of_sequences(measure)) for measure in measures}
    interval = metrics.mean_interval(of_sequences("success_auc"))
    return {
        **means,
        "success_auc_interval": list(interval),
        "sequences": len(sequences),
        "exits": dict(sorted(exits.items())),
    }


def times_ms(seconds: Iterable[float], prefix: str = "") -> dict[str, float]:
    """Return mean and 95th percentile in milliseconds."""
    values = 1e3 * np.fromiter(seconds, float)
    p95 = float(np.percentile(values, 95)) if len(values) else float("nan")
    return {f"mean_{prefix}ms": mean(values), f"p95_{prefix}ms": p95}


def mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    numbers = [value for value in values if not np.isnan(value)]
    return float(np.mean(numbers)) if numbers else float("nan")
