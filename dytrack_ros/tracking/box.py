"""Boxes as (x, y, w, h) in pixels: top-left corner and size. Pixel j of an image covers [j, j + 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]
AnyBox = Sequence[float] | npt.NDArray[np.floating]

MIN_INIT_SIDE_PX = 2.0
MIN_SIDE_PX = 2.0
"""Least side of a reported box."""
CLIP_MARGIN_PX = 10.0
"""Length of a reported box that stays inside the image on each axis (lineage of the paper)."""
BORDER_PX = 2.0


def check_init_box(box: AnyBox, image_width: int, image_height: int) -> Box:
    """Return the box as four floats.

    Raises ValueError unless it is finite, at least 2 px a side, overlaps the image and is at most four times as large.
    """
    values = tuple(float(value) for value in box)
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise ValueError(f"box {values} must be four finite numbers (x, y, w, h) in pixels")
    x, y, w, h = values
    if w < MIN_INIT_SIDE_PX or h < MIN_INIT_SIDE_PX:
        raise ValueError(f"box {values} is {w:g}x{h:g} px; each side must be at least {MIN_INIT_SIDE_PX:g} px")
    if x + w <= 0 or y + h <= 0 or x >= image_width or y >= image_height:
        raise ValueError(f"box {values} lies outside the image of {image_width}x{image_height} px")
    if w > 4 * image_width or h > 4 * image_height:
        raise ValueError(f"box {values} is over four times as large as the image of {image_width}x{image_height} px")
    return x, y, w, h


def touches_border(box: Box, image_width: int, image_height: int) -> bool:
    """Return whether the box reaches the image's border, to within BORDER_PX."""
    x, y, w, h = box
    return min(x, y, image_width - x - w, image_height - y - h) <= BORDER_PX


def clip_box(
    box: AnyBox, image_width: int, image_height: int, margin: float = CLIP_MARGIN_PX, min_side: float = MIN_SIDE_PX
) -> Box:
    """Clip a box to the image.

    A side below ``min_side`` first grows about its centre. Of a box that leaves the image, ``margin`` px, or the whole
    side if it is shorter, stay inside.
    """
    x, y, w, h = (float(value) for value in box)
    x1, x2 = _clip_side(x, x + w, image_width, margin, min_side)
    y1, y2 = _clip_side(y, y + h, image_height, margin, min_side)
    return x1, y1, x2 - x1, y2 - y1


def _clip_side(low: float, high: float, length: int, margin: float, min_side: float) -> tuple[float, float]:
    if high - low < min_side:
        centre = (low + high) / 2
        low, high = centre - min_side / 2, centre + min_side / 2
    inside = min(margin, high - low, length)
    return min(max(low, 0.0), length - inside), max(min(high, float(length)), inside)


def visible_part(box: AnyBox, image_width: int, image_height: int) -> Box:
    """Return the part of the box inside the image; its area is 0 if there is none."""
    x, y, w, h = (float(value) for value in box)
    x1, y1 = min(max(x, 0.0), image_width), min(max(y, 0.0), image_height)
    return x1, y1, max(min(x + w, image_width) - x1, 0.0), max(min(y + h, image_height) - y1, 0.0)


def iou(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the IoU of boxes (..., 4), broadcast against each other; 0 if both have no area."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    intersection = np.clip(high - low, 0, None).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - intersection
    ratio: npt.NDArray[np.float64] = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ratio
