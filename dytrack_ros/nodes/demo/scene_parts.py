"""What drawn scenes are made of: textures, and objects with smooth edges at any place and scale."""

from __future__ import annotations

import cv2
import numpy as np

_FINENESS = (4, 9, 20, 45)


def texture(random: np.random.Generator, height: int, width: int, contrast: float) -> np.ndarray:
    """Noise of several finenesses, more in brightness than in colour: uint8 BGR, height x width x 3."""
    picture = np.full((height, width, 3), random.uniform(70, 185, 3))
    for cells in _FINENESS:
        grid = (cells, max(1, cells * width // height))
        noise = random.normal(0, 1, (*grid, 1)) + random.normal(0, 0.3, (*grid, 3))
        picture += cv2.resize(
            noise * contrast / np.sqrt(len(_FINENESS)), (width, height), interpolation=cv2.INTER_CUBIC
        )
    return np.clip(picture, 0, 255).astype(np.uint8)


def framed(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A picture (uint8 BGR) with a frame of a BGR colour in [0, 255] drawn into it, by which its extent can be seen."""
    height, width = picture.shape[:2]
    cv2.rectangle(picture, (0, 0), (width - 1, height - 1), colour.tolist(), max(2, height // 12))
    return picture


def paste(image: np.ndarray, picture: np.ndarray, corner: np.ndarray, scale: float = 1.0) -> None:
    """Draw a picture into `image` (both uint8 BGR), scaled, with its top-left corner at `corner` (x, y in pixels, anywhere),
    its edges smoothed over a pixel."""
    height, width = picture.shape[:2]
    left, top = np.floor(corner).astype(int) - 1
    right, bottom = np.ceil(corner + scale * np.array([width, height])).astype(int) + 1
    left, top = max(left, 0), max(top, 0)
    region = image[top : max(bottom, top), left : max(right, left)]
    if not region.size:
        return
    size = (region.shape[1], region.shape[0])
    # Pixel i of a picture covers [i, i + 1), OpenCV's coordinates name pixel centres: hence the halves.
    half = 0.5 * scale - 0.5
    place = np.float64([[scale, 0, corner[0] - left + half], [0, scale, corner[1] - top + half]])
    inside = cv2.warpAffine(picture, place, size, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(np.ones((height, width), np.float32), place, size)[..., None]
    region[:] = np.round(region * (1 - cover) + inside * cover)
