"""Recovery of a lost target: where to look in each frame, and whether a box shows the target."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dytrack_ros.tracking.box import Box, iou
from dytrack_ros.tracking.crop import CropWindow
from dytrack_ros.tracking.image import ImageView, Pixels

Vector = npt.NDArray[np.float32]

# Search windows are half as large again as the search region: fewer of them, and a scale that training has seen.
WIDENING = 1.5

_CROP_SIDE = 32
_GREY_SIDE = 16
_BINS = 8
_FLAT = 8.0
# The middle counts most: the border shows background, and boxes are never quite the same.
_TAPER = np.outer(*[np.hanning(_GREY_SIDE + 2)[1:-1].astype(np.float32)] * 2).ravel()
_MIDDLE = cv2.ellipse(
    np.zeros((_CROP_SIDE, _CROP_SIDE), np.uint8), (_CROP_SIDE // 2,) * 2, (_CROP_SIDE // 2,) * 2, 0, 0, 360, 1, -1
)


@dataclass(frozen=True)
class RecoverySettings:
    """What a tracker does about an uncertain or lost target.

    Attributes:
        deepen: while the target is not TRACKING, report score 0 to the exit policy, so that it uses the deepest exit
            that time allows.
        search: search the whole image for a lost target; otherwise only around its last box.
        match: least similarity in [-1, 1] (:meth:`Appearance.similarity`) of a box that ends LOST; -1 accepts anything.
    """

    deepen: bool = True
    search: bool = True
    match: float = 0.5

    def __post_init__(self) -> None:
        if not -1 <= self.match <= 1:
            raise ValueError(f"match is {self.match}; it must lie in [-1, 1] (-1 = anything matches)")


class Descriptor(NamedTuple):
    """The appearance of an image patch, independent of the network; both vectors have length 1.

    ``structure``: 16x16 grey levels without their mean, and one constant level that makes patches without structure
    alike. ``colours``: the square root of a CIE Lab histogram.
    """

    structure: Vector
    colours: Vector

    def similarity(self, other: Descriptor) -> float:
        """Return the mean of structure correlation and Bhattacharyya coefficient of the colours, in [-0.5, 1]."""
        return float(self.structure @ other.structure + self.colours @ other.colours) / 2


def describe(image: Pixels | ImageView, box: Box) -> Descriptor:
    """Return the descriptor of ``box`` (x, y, w, h) of an ImageView or a BGR image."""
    lab = cv2.cvtColor(CropWindow.around(box, 1.0).cut(image, _CROP_SIDE), cv2.COLOR_RGB2LAB)
    grey = cv2.resize(lab[..., 0], (_GREY_SIDE, _GREY_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    # Most colours lie in the middle of Lab's range: the outer quarters of a and b get no bins of their own.
    lab[..., 1:] = lab[..., 1:].clip(64, 191)
    colours = cv2.calcHist([lab], [0, 1, 2], _MIDDLE, [_BINS] * 3, [0, 256, 64, 192, 64, 192]).ravel()
    grey = (grey - np.average(grey, weights=_TAPER)) * np.sqrt(_TAPER)
    return Descriptor(_unit(np.append(grey, _FLAT * np.sqrt(_TAPER.sum()))), _unit(np.sqrt(colours)))


def warm_up() -> None:
    """Let OpenCV build its Lab tables (80 ms on one core), so that the first target does not wait for them."""
    cv2.cvtColor(np.zeros((1, 1, 3), np.uint8), cv2.COLOR_RGB2LAB)


class Appearance:
    """Keeps the first descriptor of a target, and the last differing ones of frames with a sure score."""

    EVERY = 5  # sure frames from one descriptor to the next
    NOVEL = 0.9  # a descriptor more similar than this to a kept one is not kept

    def __init__(self, image: Pixels | ImageView, box: Box, kept: int = 12):
        self._first = describe(image, box)
        self._later: deque[Descriptor] = deque(maxlen=kept)
        self._sure_frames = 0

    def similarity(self, image: Pixels | ImageView, box: Box) -> float:
        """Return the similarity of ``box`` to the most similar kept descriptor, in [-0.5, 1]."""
        return self._similarity(describe(image, box))

    def remember(self, image: Pixels | ImageView, box: Box) -> None:
        """Take a frame that shows the target in ``box`` with a sure score."""
        self._sure_frames += 1
        if self._sure_frames % self.EVERY == 0:
            descriptor = describe(image, box)
            if self._similarity(descriptor) < self.NOVEL:
                self._later.append(descriptor)

    def _similarity(self, descriptor: Descriptor) -> float:
        return max(descriptor.similarity(kept) for kept in (self._first, *self._later))


def _unit(vector: npt.NDArray[np.floating]) -> Vector:
    return (vector / max(float(np.linalg.norm(vector)), 1e-6)).astype(np.float32)


class Recovery:
    """Searches for a lost target, one window a frame, so that a frame takes no longer than any other.

    Two of three windows lie where the target was last seen, the third is the next of the tiles that cover the image,
    nearest first. A box with a sure score and enough similarity is a candidate; the next frame looks there, and ends
    LOST if it agrees.
    """

    # Within NEAR_SIDES target sides of the last position the required similarity is lowered by NEAR_LENIENCE.
    NEAR_SIDES = 3.0
    NEAR_LENIENCE = 0.2

    def __init__(self, image: Pixels | ImageView, box: Box):
        self._appearance = Appearance(image, box)
        self._last_seen = box
        self._windows: Iterator[CropWindow] | None = None
        self._candidate: Box | None = None

    @property
    def last_seen(self) -> Box:
        """The target's last box before the loss."""
        return self._last_seen

    def move(self, last_seen: Box) -> None:
        """Update the last box after a change of the image size."""
        self._last_seen = last_seen
        self._windows = self._candidate = None

    def remember(self, image: Pixels | ImageView, box: Box) -> None:
        """Take a frame that shows the target in ``box`` with a sure score."""
        self._last_seen = box
        self._appearance.remember(image, box)
        self._windows = self._candidate = None

    def window(self, image_width: int, image_height: int, factor: float, settings: RecoverySettings) -> CropWindow:
        """Return the window of the next frame; ``factor`` is the search region's side in target sides."""
        if self._candidate is not None:
            return CropWindow.around(self._candidate, factor)
        if not settings.search:
            return CropWindow.around(self._last_seen, factor)
        if self._windows is None:
            self._windows = search_windows(self._last_seen, image_width, image_height, factor)
        return next(self._windows)

    def is_found(self, image: Pixels | ImageView, box: Box, is_sure: bool, settings: RecoverySettings) -> bool:
        """Return whether the target is back, given the box in the last window and whether its score is sure."""
        candidate, self._candidate = self._candidate, None
        if not is_sure or self._appearance.similarity(image, box) < self._least_similarity(box, settings):
            return False
        if candidate is not None and iou(candidate, box) > 0:
            self._last_seen, self._windows = box, None
            return True
        self._candidate = box
        return False

    def _least_similarity(self, box: Box, settings: RecoverySettings) -> float:
        (x, y, w, h), (last_x, last_y, last_w, last_h) = box, self._last_seen
        distance = math.hypot(x + w / 2 - last_x - last_w / 2, y + h / 2 - last_y - last_h / 2)
        is_near = distance <= self.NEAR_SIDES * math.sqrt(last_w * last_h)
        return settings.match - (self.NEAR_LENIENCE if is_near else 0.0)


def search_windows(box: Box, image_width: int, image_height: int, factor: float) -> Iterator[CropWindow]:
    """Yield windows without end: around ``box`` with ``factor`` times its side, the same widened, the next tile.

    Tiles cover the image, nearest first, again and again. They are as large as the widened window and overlap by a
    target side, so that no border cuts the target.
    """
    home = CropWindow.around(box, factor)
    widened = CropWindow.around(box, factor * WIDENING)
    overlap = widened.side / (factor * WIDENING)
    lefts = _positions(widened.left, widened.side, overlap, image_width)
    tops = _positions(widened.top, widened.side, overlap, image_height)
    tiles = sorted(
        (CropWindow(left, top, widened.side) for left, top in itertools.product(lefts, tops)),
        key=lambda tile: math.hypot(tile.left - widened.left, tile.top - widened.top),
    )
    for tile in itertools.cycle(tiles[1:] or tiles):
        yield from (home, widened, tile)


def _positions(start: float, side: float, overlap: float, length: int) -> list[float]:
    """The starts of windows of ``side`` along one axis that, with one at ``start``, cover [0, ``length``]."""
    stride = max(side - overlap, 1.0)
    first = -math.ceil(max(start, 0.0) / stride)
    last = math.ceil(max(length - start - side, 0.0) / stride)
    return [start + stride * number for number in range(first, last + 1)]
