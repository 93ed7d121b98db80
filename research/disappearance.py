"""Sequences whose target disappears for a while, made from those where it never does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.run import SequenceRun
from dytrack_ros.tracking.box import iou
from dytrack_ros.tracking.state import TrackState

GAP_FRAMES = 30
PERIOD_FRAMES = 100
FOUND_WITHIN_FRAMES = 30
FOUND_IOU = 0.5


@dataclass(frozen=True)
class OccludedSequence(Sequence):
    """A sequence in which, during ``gaps`` (first frame, end), what lies around the target's box is painted over with
    another part of the same frame. ``truth`` is NaN there; ``hidden_truth`` is not. The target goes on moving."""

    hidden_truth: np.ndarray | None = None
    gaps: tuple[tuple[int, int], ...] = ()

    def image(self, number: int) -> np.ndarray:
        image = super().image(number)
        if any(first <= number < end for first, end in self.gaps):
            paint_over(image, self.hidden_truth[number])
        return image


def with_gaps(sequence: Sequence) -> OccludedSequence:
    """Hides the target for 30 of every 100 frames; in a short sequence once, for a quarter of it from a quarter on."""
    count = len(sequence)
    if count < PERIOD_FRAMES:
        gaps = ((count // 4, count // 2),)
    else:
        starts = range(PERIOD_FRAMES // 4, count - GAP_FRAMES - FOUND_WITHIN_FRAMES + 1, PERIOD_FRAMES)
        gaps = tuple((start, start + GAP_FRAMES) for start in starts)
    truth = sequence.truth.copy()
    for first, end in gaps:
        truth[first:end] = np.nan
    plain = {field.name: getattr(sequence, field.name) for field in fields(Sequence)}
    return OccludedSequence(**plain | {"truth": truth}, hidden_truth=sequence.truth, gaps=gaps)


def paint_over(image: np.ndarray, box: np.ndarray, margin: float = 0.15) -> None:
    """Covers ``box`` (x, y, w, h) and ``margin`` of its size around it with what is beside it, mirrored, so that edges
    meet; in place."""
    height, width = image.shape[:2]
    x, y, w, h = box
    left, right = (int(np.clip(v, 0, width)) for v in (x - margin * w, x + (1 + margin) * w))
    top, bottom = (int(np.clip(v, 0, height)) for v in (y - margin * h, y + (1 + margin) * h))
    columns, rows = np.arange(left, right), np.arange(top, bottom)
    if not len(columns) or not len(rows):
        return
    # From the side with more room; beyond the image's border the mirror starts again.
    if max(left, width - right) >= max(top, height - bottom):
        columns = _mirrored(columns, left, right, width)
    else:
        rows = _mirrored(rows, top, bottom, height)
    image[top:bottom, left:right] = image[np.ix_(rows, columns)]


def _mirrored(positions: np.ndarray, low: int, high: int, length: int) -> np.ndarray:
    """Positions outside [low, high) for those inside, mirrored at the side that has more room to the border."""
    if low >= length - high:
        room = max(low, 1)
        return low - 1 - (positions - low) % room if low else np.zeros_like(positions)
    room = length - high
    return high + (high - 1 - positions) % room


def gap_summary(runs: Iterable[SequenceRun]) -> dict:
    """How a tracker copes with gaps (runs over :class:`OccludedSequence`).

    ``lost_auc``: area under the ROC curve with which the score tells frames without the target from those where the box
    has an IoU of at least 0.5 (1 = perfectly, 0.5 = not at all). ``said_lost``: share of the gaps by whose end the state
    was LOST. ``false_finds``: how often in a gap the state went from LOST back to TRACKING. ``found_again``: share of the
    gaps after which the box reached an IoU of 0.5 within 30 frames, and ``frames_to_find`` the median of how many it took.
    """
    with_target, without = [], []
    gaps = said_lost = false_finds = 0
    frames_to_find: list[int] = []
    for run in runs:
        sequence = run.sequence
        overlaps = np.array(
            [float(iou(box, truth)) for box, truth in zip(run.boxes, sequence.hidden_truth, strict=True)]
        )
        absent = np.isnan(sequence.truth).any(1)
        for number, result in enumerate(run.results, start=1):
            if absent[number]:
                without.append(result.score)
            elif overlaps[number] >= FOUND_IOU:
                with_target.append(result.score)
        for first, end in sequence.gaps:
            gaps += 1
            states = [result.state for result in run.results[first - 1 : end - 1]]
            said_lost += states[-1] == TrackState.LOST
            false_finds += sum(a == TrackState.LOST != b for a, b in zip(states, states[1:], strict=False))
            hits = np.flatnonzero(overlaps[end : end + FOUND_WITHIN_FRAMES] >= FOUND_IOU)
            if len(hits):
                frames_to_find.append(int(hits[0]) + 1)
    return {
        "gaps": gaps,
        "lost_auc": roc_auc(with_target, without),
        "said_lost": said_lost / gaps,
        "false_finds": false_finds,
        "found_again": len(frames_to_find) / gaps,
        "frames_to_find": float(np.median(frames_to_find)) if frames_to_find else float("nan"),
    }


def roc_auc(positives: Iterable[float], negatives: Iterable[float]) -> float:
    """The probability that a positive scores above a negative (ties count half); NaN where one kind is missing."""
    positives, negatives = np.sort(np.fromiter(positives, float)), np.sort(np.fromiter(negatives, float))
    if not len(positives) or not len(negatives):
        return float("nan")
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.mean() / 2 / len(negatives))
