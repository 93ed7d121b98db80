"""What every exit would have answered on the same crop."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.threshold_search import ExitSample
from dytrack_ros.tracking import DyTracker
from dytrack_ros.tracking.box import iou


@dataclass(frozen=True)
class AllExitsRun:
    """What each of K exits answered on every frame of a sequence: ``scores`` (N, K), ``boxes`` (N, K, 4) in pixels; NaN on
    the first frame, where the tracker is started."""

    sequence: Sequence
    scores: np.ndarray
    boxes: np.ndarray

    @property
    def ious(self) -> np.ndarray:
        """(N, K), NaN on the first frame and where there is no target."""
        truth = self.sequence.judged_truth[:, None]
        known = metrics.is_present(self.sequence.judged_truth)[:, None] & ~np.isnan(self.scores)
        return np.where(known, iou(np.nan_to_num(self.boxes), np.nan_to_num(truth)), np.nan)


def run_all_exits(
    tracker: DyTracker, sequence: Sequence, on_frame: Callable[[int, None], None] = lambda number, _: None
) -> AllExitsRun:
    """Every exit's answer on the same crops, those of a tracker that follows the last exit: how difficult each frame is,
    whatever exit is taken on it."""
    count = tracker.exit_count
    scores, boxes = np.full((len(sequence), count), np.nan), np.full((len(sequence), count, 4), np.nan)
    for number, image in enumerate(sequence.images()):
        if number == 0:
            tracker.initialize(image, sequence.start_box)
        else:
            scores[number], boxes[number] = tracker.predict_all_exits(image)
            tracker.box = tuple(float(value) for value in boxes[number, -1])
        on_frame(number, None)
    return AllExitsRun(sequence, scores, boxes)


def sample_exits(
    tracker: DyTracker, sequence: Sequence, seed: int = 0, on_frame: Callable[[], None] = lambda: None
) -> list[ExitSample]:
    """Scores and true IoUs of every exit on every frame with a target.

    The tracker follows an exit drawn at random on each frame: crops are then as good as a mix of exits makes them. A
    target that it has lost (IoU 0) is put back to the truth on the next frame that shows it.
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
                ious = [float(value) for value in iou(boxes, truth)]
                samples.append(ExitSample(tuple(round(s, 5) for s in scores), tuple(round(i, 5) for i in ious)))
                if ious[followed] == 0:
                    tracker.box = tuple(float(value) for value in truth)
        on_frame()
    return samples
