"""Corrections of boxes: difference between init box and network, sizes of low score, changes of the image size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dytrack_ros.tracking.box import Box, iou

Boxes = tuple[Box, ...]

LEAST_IOU = 0.3
"""Below this IoU of init box and network box the network saw something else, and nothing is corrected."""
LARGEST_RATIO = 2.0
LARGEST_OFFSET = 0.5


class InitCorrection:
    """Corrects the difference between the init box and each exit's box on the same frame (not in the paper).

    The init box may be the rider where the network finds the rider with his bike. Sides differ by a ratio, centres by
    an offset in units of the network box's sides. Later boxes are corrected by a ``share`` of the difference: a
    single frame's difference is partly noise.
    """

    def __init__(self, init_box: Box, network_boxes: Sequence[Box]):
        """``network_boxes``: one for each exit; all boxes are (x, y, w, h) in pixels of the init frame."""
        self._differences = [_difference(init_box, box) for box in network_boxes]

    def corrected(self, box: Box, exit_index: int, share: float) -> Box:
        """Return the corrected ``box`` (x, y, w, h) of exit ``exit_index`` (1-based); ``share`` lies in [0, 1]."""
        log_ratio, offset = self._differences[exit_index - 1]
        corner, sides = np.array(box[:2]), np.array(box[2:])
        centre = corner + sides * (0.5 + share * offset)
        sides = sides * np.exp(share * log_ratio)
        x, y = (centre - sides / 2).tolist()
        w, h = sides.tolist()
        return x, y, w, h


def _difference(init_box: Box, found: Box) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the logarithm of the ratio of the sides, and the offset of the centre in sides of ``found``."""
    if iou(init_box, found) < LEAST_IOU:
        return np.zeros(2), np.zeros(2)
    (x, y, w, h), (fx, fy, fw, fh) = init_box, found
    limit = np.log(LARGEST_RATIO)
    ratio = np.clip(np.log([w / fw, h / fh]), -limit, limit)
    offset = np.array([(x + w / 2 - fx - fw / 2) / fw, (y + h / 2 - fy - fh / 2) / fh])
    return ratio, np.clip(offset, -LARGEST_OFFSET, LARGEST_OFFSET)


def with_damped_size(box: Box, last: Box, score: float, damping: float) -> Box:
    """Return ``box`` with a size between the last box's and its own, about the same centre (not in the paper).

    The ratio of the sides is raised to the power ``1 - damping * (1 - score)``. At damping 1 this is the score, so that
    a box of score 0 keeps its size. Without damping the boxes of an occluded target grow with each frame, and with
    them the search region, in which the target is then too small to be found.
    """
    share = 1 - damping * (1 - score)
    x, y, w, h = box
    new_w, new_h = last[2] * (w / last[2]) ** share, last[3] * (h / last[3]) ** share
    return x + (w - new_w) / 2, y + (h - new_h) / 2, new_w, new_h


class Resolution:
    """Scales boxes when the image size changes while a target is followed.

    An image of another size is assumed to show the same view, so boxes are scaled with it. If the next image has the
    old size again, the one between was a stray image and the boxes from before it are restored.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._before: tuple[tuple[int, int], Boxes] | None = None  # size and boxes before the last change

    def change(self, width: int, height: int, boxes: Boxes) -> Boxes | None:
        """Return ``boxes`` (x, y, w, h), pixels, for an image of this size; None if the size is unchanged.

        Must be called for every image.
        """
        size, before = (width, height), self._before
        self._before = None
        if size == self._size:
            return None
        old_width, old_height = self._size
        self._size = size
        if before is not None and before[0] == size:
            return before[1]
        self._before = (old_width, old_height), boxes
        across, down = width / old_width, height / old_height
        return tuple((x * across, y * down, w * across, h * down) for x, y, w, h in boxes)
