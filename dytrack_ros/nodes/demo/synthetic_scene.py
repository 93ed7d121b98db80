"""A moving textured target over a textured background, with camera shake and scale change, and its exact box."""

from __future__ import annotations

import cv2
import numpy as np

from dytrack_ros.nodes.demo.scene_parts import framed, paste, texture
from dytrack_ros.tracking.box import Box

_SHAKE = 0.01  # largest camera shake, as a part of the image's height
_TARGET_HEIGHT = 0.22  # the target's mean height, as a part of the image's height
_ZOOM = 1.35  # largest scale of the target over its mean, and inversely


class SyntheticScene:
    """Frame `i` of the scene of a seed is always the same picture and the same box.

    The target stays inside the image, moves about 5 % (at most 13 %) of its size a frame and is never covered.
    """

    def __init__(self, width: int, height: int, seed: int = 0) -> None:
        """`width` and `height` in pixels, at least 64."""
        random = np.random.default_rng(seed)
        self._width, self._height = width, height
        self._margin = int(np.ceil(_SHAKE * height)) + 1
        self._background = texture(random, height + 2 * self._margin, width + 2 * self._margin, contrast=45)
        side = round(_TARGET_HEIGHT * height)
        width_of_target = round(side * random.uniform(0.7, 1.4))
        self._target = framed(texture(random, side, width_of_target, contrast=75), random.uniform(0, 255, 3))
        # Incommensurable periods (in frames): the path does not repeat within a clip.
        self._periods = random.uniform((220, 160, 200, 14, 11), (340, 250, 300, 23, 19))
        self._phases = random.uniform(0, 2 * np.pi, 5)

    def frame(self, index: int) -> tuple[np.ndarray, Box]:
        """ImageView `index` (0, 1, ...): uint8 BGR, height x width x 3, and the target's box x, y, w, h in pixels."""
        along, down, zoom, shake_x, shake_y = np.sin(2 * np.pi * index / self._periods + self._phases)
        shake = np.array([shake_x, shake_y]) * _SHAKE * self._height
        image = self._cut_background(shake)
        scale = _ZOOM**zoom
        size = np.array([self._target.shape[1], self._target.shape[0]]) * scale
        room = (np.array([self._width, self._height]) - size) / 2 - self._margin
        corner = (np.array([self._width, self._height]) - size) / 2 + room * (along, down) - shake
        paste(image, self._target, corner, scale)
        return image, (*map(float, corner), *map(float, size))

    def _cut_background(self, shake: np.ndarray) -> np.ndarray:
        shift = np.float64([[1, 0, self._margin + shake[0]], [0, 1, self._margin + shake[1]]])
        return cv2.warpAffine(
            self._background, shift, (self._width, self._height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
