"""Boxes as (x, y, w, h) in pixels, top-left corner and size. Pixel j of an image covers [j, j + 1)."""

from __future__ import annotations

import math

import numpy as np

Box = tuple[float, float, float, float]

MIN_INIT_SIDE_PX = 2.0
CLIP_MARGIN_PX = 10.0


def check_init_box(box, image_width: int, image_height: int) -> Box:
    """The box as four floats. Raises ValueError unless it is finite, at least 2 px a side and overlaps the image."""
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
    return values


def clip_box(box, image_width: int, image_height: int, margin: float = CLIP_MARGIN_PX) -> Box:
    """The box cut to the image, with ``margin`` px of it kept inside and as its least size (lineage of the paper)."""
    x, y, w, h = (float(value) for value in box)
    margin = min(margin, image_width, image_height)
    x1 = min(max(x, 0.0), image_width - margin)
    y1 = min(max(y, 0.0), image_height - margin)
    x2 = max(min(x + w, float(image_width)), margin)
    y2 = max(min(y + h, float(image_height)), margin)
    return x1, y1, max(x2 - x1, margin), max(y2 - y1, margin)


def visible_part(box, image_width: int, image_height: int) -> Box:
    """What of the box lies in the image; without area where nothing does."""
    x, y, w, h = (float(value) for value in box)
    x1, y1 = min(max(x, 0.0), image_width), min(max(y, 0.0), image_height)
    return x1, y1, max(min(x + w, image_width) - x1, 0.0), max(min(y + h, image_height) - y1, 0.0)


def iou(a, b) -> np.ndarray:
    """IoU of boxes (..., 4), broadcast against each other; 0 where both have no area."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    intersection = np.clip(high - low, 0, None).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
