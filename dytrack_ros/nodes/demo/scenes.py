"""Drawn scenes with known truth: a moving textured target, an occlusion, and a shaken camera."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from dytrack_ros.tracking.box import Box, clip_box


class SourceFrame(NamedTuple):
    """One frame, uint8 BGR, HxWx3, and the true box (x, y, w, h in pixels), None where it is unknown or absent."""

    image: np.ndarray
    truth: Box | None


FRAMES = 140
# A smaller visible share of the target counts as absent.
LEAST_IN_SIGHT = 0.25

_OCCLUSION_SIZE = 640, 480
_TARGET_SIDE = 104
# Frames in which the target crosses the image, and in which it is hidden.
_CROSSING_FRAMES, _HIDDEN_FRAMES = 100, 14
_SHAKE_SIZE = 640, 360
# The share of the still that the shaken camera sees; its slow pan and fast shake, as shares of that.
_VIEW = 0.75
_PAN, _SHAKE = 0.1, 0.035
_EXPOSURES = 9  # a frame is the mean of this many views within half a frame's time: motion blur

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


def occlusion(frames: int = FRAMES, seed: int = 3) -> Iterator[SourceFrame]:
    """Yield a textured target that crosses a textured scene and passes behind a pillar, hidden for 14 frames.

    The true box is that of the visible part, None if that is under LEAST_IN_SIGHT.
    """
    width, height = _OCCLUSION_SIZE
    random = np.random.default_rng(seed)
    background = texture(random, height, width, contrast=45)
    target = framed(texture(random, _TARGET_SIDE, _TARGET_SIDE, contrast=75), random.uniform(0, 255, 3))
    start, end = 20.0, width - 20.0 - _TARGET_SIDE
    step = (end - start) / _CROSSING_FRAMES
    pillar = texture(random, height, round(_TARGET_SIDE + _HIDDEN_FRAMES * step), contrast=20) // 2
    pillar_left = (width - pillar.shape[1]) // 2
    for index in range(frames):
        image = background.copy()
        x = start + step * min(index, _CROSSING_FRAMES)
        y = height * (0.42 + 0.08 * np.sin(index / 9))
        paste(image, target, np.array([x, y]))
        image[:, pillar_left : pillar_left + pillar.shape[1]] = pillar
        yield SourceFrame(image, _in_sight((x, y, _TARGET_SIDE, _TARGET_SIDE), pillar_left, pillar.shape[1]))


def _in_sight(box: Box, pillar_left: int, pillar_width: int) -> Box | None:
    """Return the larger visible part of a box beside a pillar, to its left or right; None if it is too small."""
    x, y, width, height = map(float, box)
    left = max(min(x + width, pillar_left) - x, 0.0)
    right = max(x + width - max(x, pillar_left + pillar_width), 0.0)
    if max(left, right) < LEAST_IN_SIGHT * width:
        return None
    return (x, y, left, height) if left > right else (x + width - right, y, right, height)


def shaken(still: np.ndarray, box: Box, frames: int = FRAMES) -> Iterator[SourceFrame]:
    """Yield the frames of a camera that is panned and shaken in front of a still (uint8 BGR, HxWx3), motion-blurred.

    `box` is the target in the still, x, y, w, h in pixels. The true box is its part inside the frame.
    """
    width, height = _SHAKE_SIZE
    view = np.array([still.shape[1] * _VIEW, still.shape[1] * _VIEW * height / width])
    room = (np.array([still.shape[1], still.shape[0]]) - view) / 2
    scale = width / view[0]

    def corner(time: float) -> np.ndarray:
        pan = _PAN * np.sin(2 * np.pi * time / np.array([61.0, 83.0]) + [0.0, 1.0])
        shake = _SHAKE * (
            np.sin(2 * np.pi * time / np.array([4.7, 3.9])) + 0.5 * np.sin(2 * np.pi * time / np.array([2.3, 2.9]))
        )
        return np.clip(room + (pan + shake) * view, 0, 2 * room)

    for index in range(frames):
        moments = index + np.linspace(-0.25, 0.25, _EXPOSURES)
        shots = [_view(still, corner(moment), scale) for moment in moments]
        image = np.mean(shots, axis=0).round().astype(np.uint8)
        x, y = (np.array(box[:2]) - corner(index)) * scale
        yield SourceFrame(
            image, clip_box((float(x), float(y), box[2] * scale, box[3] * scale), width, height, margin=0)
        )


def _view(still: np.ndarray, corner: np.ndarray, scale: float) -> np.ndarray:
    """Return the view whose top-left corner lies at `corner` of the still."""
    centre = 0.5 * scale - 0.5  # as in paste
    place = np.array([[scale, 0, centre - corner[0] * scale], [0, scale, centre - corner[1] * scale]], np.float64)
    return cv2.warpAffine(still, place, _SHAKE_SIZE, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
