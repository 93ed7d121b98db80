"""What a target looks like, told without the network: so that what is found again is not just anything."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from dytrack_ros.tracking.box import Box
from dytrack_ros.tracking.crop import CropWindow
from dytrack_ros.tracking.image import ImageView

_CROP_SIDE = 32
_GREY_SIDE = 16
_BINS = 8
_FLAT = 8.0
# The middle counts most: near the border there is background, and boxes are never quite the same.
_TAPER = np.outer(*[np.hanning(_GREY_SIDE + 2)[1:-1].astype(np.float32)] * 2).ravel()
_MIDDLE = cv2.ellipse(
    np.zeros((_CROP_SIDE, _CROP_SIDE), np.uint8), (_CROP_SIDE // 2,) * 2, (_CROP_SIDE // 2,) * 2, 0, 0, 360, 1, -1
)

# OpenCV builds its tables for Lab at the first conversion (80 ms on one core): now, not when the first target is given.
cv2.cvtColor(np.zeros((1, 1, 3), np.uint8), cv2.COLOR_RGB2LAB)


class Look(NamedTuple):
    """A picture's ``structure``, 16x16 grey levels without their mean, and its ``colours``, the root of a histogram
    over CIE Lab; both as vectors of length 1. One further, constant level makes pictures without structure alike."""

    structure: np.ndarray
    colours: np.ndarray

    def similarity(self, other: Look) -> float:
        """In [-0.5, 1]: the mean of the correlation of the structures and the Bhattacharyya coefficient of the colours."""
        return float(self.structure @ other.structure + self.colours @ other.colours) / 2


def look_at(image: np.ndarray | ImageView, box: Box) -> Look:
    """The look of what is in ``box`` (x, y, w, h) of a picture or a BGR image."""
    lab = cv2.cvtColor(CropWindow.around(box, 1.0).cut(image, _CROP_SIDE), cv2.COLOR_RGB2LAB)
    grey = cv2.resize(lab[..., 0], (_GREY_SIDE, _GREY_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    # Most things' colours lie in the middle of Lab's range: the outer quarters of a and b get no bins of their own.
    lab[..., 1:] = lab[..., 1:].clip(64, 191)
    colours = cv2.calcHist([lab], [0, 1, 2], _MIDDLE, [_BINS] * 3, [0, 256, 64, 192, 64, 192]).ravel()
    grey = (grey - np.average(grey, weights=_TAPER)) * np.sqrt(_TAPER)
    return Look(_unit(np.append(grey, _FLAT * np.sqrt(_TAPER.sum()))), _unit(np.sqrt(colours)))


class Appearance:
    """The first look of a target, which stays, and the last different ones of frames that were sure."""

    EVERY = 5  # looks are taken this many sure frames apart
    NOVEL = 0.9  # what is more alike than this to a kept look adds nothing

    def __init__(self, image: np.ndarray | ImageView, box: Box, kept: int = 12):
        self._first = look_at(image, box)
        self._later: deque[Look] = deque(maxlen=kept)
        self._sure_frames = 0

    def similarity(self, image: np.ndarray | ImageView, box: Box) -> float:
        """How alike what is in ``box`` is to the most alike look that is kept, in [-0.5, 1]."""
        return self._similarity(look_at(image, box))

    def remember(self, image: np.ndarray | ImageView, box: Box) -> None:
        """Tells of a frame in which the target is in ``box`` for sure."""
        self._sure_frames += 1
        if self._sure_frames % self.EVERY == 0:
            look = look_at(image, box)
            if self._similarity(look) < self.NOVEL:
                self._later.append(look)

    def _similarity(self, look: Look) -> float:
        return max(look.similarity(kept) for kept in (self._first, *self._later))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
