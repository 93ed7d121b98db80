"""A drawn scene with known truth: a moving textured target."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dytrack_ros.tracking.box import Box


class SourceFrame(NamedTuple):
    """One frame, uint8 BGR, HxWx3, and the true box (x, y, w, h in pixels), None where it is unknown or absent."""

    image: np.ndarray
    truth: Box | None


_FINENESS = (4, 9, 20, 45)


def texture(random: np.random.Generator, height: int, width: int, contrast: float) -> np.ndarray:
    """Return noise of several scales, more in brightness than in colour: uint8 BGR, height x width x 3."""
    picture = np.full((height, width, 3), random.uniform(70, 185, 3))
    for cells in _FINENESS:
        grid = (cells, max(1, cells * width // height))
        noise = random.normal(0, 1, (*grid, 1)) + random.normal(0, 0.3, (*grid, 3))
        picture += cv2.resize(
            noise * contrast / np.sqrt(len(_FINENESS)), (width, height), interpolation=cv2.INTER_CUBIC
        )
    return np.clip(picture, 0, 255).astype(np.uint8)


def framed(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Draw a border of a BGR colour in [0, 255] into an image (uint8 BGR), so that its extent is visible."""
    height, width = picture.shape[:2]
    cv2.rectangle(picture, (0, 0), (width - 1, height - 1), colour.tolist(), max(2, height // 12))
    return picture


def paste(image: np.ndarray, picture: np.ndarray, corner: np.ndarray, scale: float = 1.0) -> None:
    """Draw a scaled picture into `image` (both uint8 BGR) with its top-left corner at `corner` (x, y in pixels).

    The corner may lie outside the image; edges are smoothed over a pixel."""
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
    place = np.array([[scale, 0, corner[0] - left + half], [0, scale, corner[1] - top + half]], np.float64)
    inside = cv2.warpAffine(picture, place, size, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(np.ones((height, width), np.float32), place, size)[..., None]
    region[:] = np.round(region * (1 - cover) + inside * cover)


_SCENE_SHAKE = 0.01  # largest camera shake, as a share of the image's height
_TARGET_HEIGHT = 0.22  # the target's mean height, as a share of the image's height
_ZOOM = 1.35  # largest scale of the target over its mean


class SyntheticScene:
    """Frame `i` of the scene of a seed is always the same picture and the same box.

    The target stays inside the image, moves about 5 % (at most 13 %) of its size a frame and is never covered.
    """

    def __init__(self, width: int, height: int, seed: int = 0) -> None:
        """`width` and `height` in pixels, at least 64."""
        random = np.random.default_rng(seed)
        self._width, self._height = width, height
        self._margin = int(np.ceil(_SCENE_SHAKE * height)) + 1
        self._background = texture(random, height + 2 * self._margin, width + 2 * self._margin, contrast=45)
        side = round(_TARGET_HEIGHT * height)
        width_of_target = round(side * random.uniform(0.7, 1.4))
        self._target = framed(texture(random, side, width_of_target, contrast=75), random.uniform(0, 255, 3))
        # Incommensurable periods (in frames): the path does not repeat within a clip.
        self._periods = random.uniform((220, 160, 200, 14, 11), (340, 250, 300, 23, 19))
        self._phases = random.uniform(0, 2 * np.pi, 5)

    def frame(self, index: int) -> tuple[np.ndarray, Box]:
        """Return frame `index` (0, 1, ...): uint8 BGR, height x width x 3, and the target's box (x, y, w, h in px)."""
        along, down, zoom, shake_x, shake_y = np.sin(2 * np.pi * index / self._periods + self._phases)
        shake = np.array([shake_x, shake_y]) * _SCENE_SHAKE * self._height
        image = self._cut_background(shake)
        scale = _ZOOM**zoom
        size = np.array([self._target.shape[1], self._target.shape[0]]) * scale
        room = (np.array([self._width, self._height]) - size) / 2 - self._margin
        corner = (np.array([self._width, self._height]) - size) / 2 + room * (along, down) - shake
        paste(image, self._target, corner, scale)
        return image, (float(corner[0]), float(corner[1]), float(size[0]), float(size[1]))

    def _cut_background(self, shake: np.ndarray) -> np.ndarray:
        shift = np.array([[1, 0, self._margin + shake[0]], [0, 1, self._margin + shake[1]]], np.float64)
        return cv2.warpAffine(
            self._background, shift, (self._width, self._height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
