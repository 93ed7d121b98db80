"""Motion prior of the box's corners (not in the paper)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def motion_prior(grid: int, corners: NDArray[np.floating], target_side: float, weight: float) -> NDArray[np.float64]:
    """Return what is added to the log heat maps of both corners, (2, grid, grid), the top-left corner's first.

    It is the Gaussian exp(-weight * d^2), with the distance d in target sides from the corner's place in the last
    frame. Like the cosine window of Siamese trackers it prefers the target to look-alikes farther away.

    Args:
        grid: side of a heat map in cells.
        corners: the last frame's box, (x1, y1, x2, y2) in units of the search region's side.
        target_side: sqrt(w * h) of the target in the same unit.
        weight: 0 or more.
    """
    places = (np.arange(grid) + 0.5) / grid
    across, down = (((places - corners[axis::2, None]) / target_side) ** 2 for axis in (0, 1))  # (2, grid) each
    return -weight * (down[:, :, None] + across[:, None, :])
