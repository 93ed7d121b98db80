"""What was marked, where the network takes more or less for the object: the rider where it sees the rider with his bike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dytrack_ros.tracking.box import Box, iou

LEAST_IOU = 0.3
"""Between what was marked and what was found: below it the network saw something else, from which nothing follows."""
LARGEST_RATIO = 2.0
LARGEST_OFFSET = 0.5


class InitCorrection:
    """How the network's boxes on the very picture that was marked differ from the mark, exit by exit.

    Sides differ by a ratio, centres by a part of the found box's sides. Later boxes are corrected by a ``share`` of that: all
    of it would carry the error of a single frame into all others (beyond the paper).
    """

    def __init__(self, marked: Box, found: Sequence[Box]):
        """``found``: each exit's box of the target in ``marked``, both as (x, y, w, h) in pixels of the same image."""
        self._differences = [_difference(marked, box) for box in found]

    def corrected(self, box: Box, exit_index: int, share: float) -> Box:
        """``box`` (x, y, w, h) that the exit ``exit_index`` (1-based) has found in a later frame; ``share`` in [0, 1]."""
        log_ratio, offset = self._differences[exit_index - 1]
        corner, sides = np.array(box[:2]), np.array(box[2:])
        centre = corner + sides * (0.5 + share * offset)
        sides = sides * np.exp(share * log_ratio)
        return tuple((centre - sides / 2).tolist() + sides.tolist())


def _difference(marked: Box, found: Box) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of the ratio of the sides, and the offset of the centre in sides of ``found``."""
    if iou(marked, found) < LEAST_IOU:
        return np.zeros(2), np.zeros(2)
    (x, y, w, h), (fx, fy, fw, fh) = marked, found
    limit = np.log(LARGEST_RATIO)
    ratio = np.clip(np.log([w / fw, h / fh]), -limit, limit)
    offset = np.array([(x + w / 2 - fx - fw / 2) / fw, (y + h / 2 - fy - fh / 2) / fh])
    return ratio, np.clip(offset, -LARGEST_OFFSET, LARGEST_OFFSET)
