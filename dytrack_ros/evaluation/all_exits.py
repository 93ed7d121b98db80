"""What every exit would have answered on the same crop."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from dytrack_ros.budget.threshold_search import ExitSample
from dytrack_ros.evaluation.datasets import Sequence
from dytrack_ros.tracking import DyTracker
from dytrack_ros.tracking.box import Box, clip_box, iou
from dytrack_ros.tracking.crop import CropWindow


def answers_of_all_exits(tracker: DyTracker, image: np.ndarray) -> tuple[list[float], list[Box]]:
    """Scores and boxes (x, y, w, h) in pixels of every exit on the next image; the tracker's own box stays."""
    engine = tracker.engine
    height, width = image.shape[:2]
    window = CropWindow.around(tracker.box, engine.search_factor)
    engine.begin(window.cut(image, engine.search_size))
    scores, boxes = [], []
    for _ in range(engine.exit_count):
        scores.append(engine.advance())
        boxes.append(clip_box(window.to_image(engine.locate()), width, height))
    return scores, boxes


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
            scores, boxes = answers_of_all_exits(tracker, image)
            followed = drawn.randrange(len(boxes))
            tracker.box = boxes[followed]
            if not np.isnan(truth).any():
                ious = [float(value) for value in iou(boxes, truth)]
                samples.append(ExitSample(tuple(round(s, 5) for s in scores), tuple(round(i, 5) for i in ious)))
                if ious[followed] == 0:
                    tracker.box = tuple(float(value) for value in truth)
        on_frame()
    return samples
