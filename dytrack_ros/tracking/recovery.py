"""Looking for a lost target: where to look in each frame, and whether what is there is the target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dytrack_ros.tracking.appearance import Appearance
from dytrack_ros.tracking.box import Box, iou
from dytrack_ros.tracking.crop import CropWindow
from dytrack_ros.tracking.image import ImageView

# Windows of the search reach half as far again as those of tracking: fewer of them, and scales that training has seen.
WIDENING = 1.5


@dataclass(frozen=True)
class RecoverySettings:
    """What a tracker does about a doubtful or lost target.

    ``deepen``: while the target is not TRACKING, the exit policy is told a score of 0, so that frames go as deep as time
    allows. ``search``: whether a lost target is looked for in the whole image, or only around where it was last seen.
    ``match``: how alike (:meth:`Appearance.similarity`) to its kept looks it must be to be taken for the target."""

    deepen: bool = True
    search: bool = True
    match: float = 0.5

    def __post_init__(self) -> None:
        if not -1 <= self.match <= 1:
            raise ValueError(f"match is {self.match}; it must lie in [-1, 1] (-1 = anything matches)")


class Recovery:
    """What is kept of a target for the case that it is lost, and the search for it.

    Each frame of a search looks at one window, so it takes no longer than any other frame: two of three where the target
    was last seen, the third at the next of the image's tiles, nearest first. A find counts when a second frame, looking
    right there, agrees.
    """

    # Within so many target sides of where it was last seen the place speaks for a find, and it may look less alike by so much.
    NEAR_SIDES = 3.0
    NEAR_LENIENCE = 0.2

    def __init__(self, image: np.ndarray | ImageView, box: Box):
        self._appearance = Appearance(image, box)
        self._last_seen = box
        self._windows: Iterator[CropWindow] | None = None
        self._candidate: Box | None = None

    @property
    def last_seen(self) -> Box:
        """Where the target was when it was last followed."""
        return self._last_seen

    def move(self, last_seen: Box) -> None:
        """Tells that images have another size now, in which the target was last seen here."""
        self._last_seen = last_seen
        self._windows = self._candidate = None

    def remember(self, image: np.ndarray | ImageView, box: Box) -> None:
        """Tells of a frame in which the target was surely in ``box``."""
        self._last_seen = box
        self._appearance.remember(image, box)
        self._windows = self._candidate = None

    def window(self, image_width: int, image_height: int, factor: float, settings: RecoverySettings) -> CropWindow:
        """Where to look in the next frame; ``factor`` is the search region's side in target sides."""
        if self._candidate is not None:
            return CropWindow.around(self._candidate, factor)
        if not settings.search:
            return CropWindow.around(self._last_seen, factor)
        if self._windows is None:
            self._windows = search_windows(self._last_seen, image_width, image_height, factor)
        return next(self._windows)

    def is_found(self, image: np.ndarray | ImageView, box: Box, is_sure: bool, settings: RecoverySettings) -> bool:
        """Whether the target is back, now that the window given last has shown ``box``, ``is_sure`` by its score."""
        candidate, self._candidate = self._candidate, None
        if not is_sure or self._appearance.similarity(image, box) < self._match(box, settings):
            return False
        if candidate is not None and iou(candidate, box) > 0:
            self._last_seen, self._windows = box, None
            return True
        self._candidate = box
        return False

    def _match(self, box: Box, settings: RecoverySettings) -> float:
        (x, y, w, h), (last_x, last_y, last_w, last_h) = box, self._last_seen
        distance = math.hypot(x + w / 2 - last_x - last_w / 2, y + h / 2 - last_y - last_h / 2)
        is_near = distance <= self.NEAR_SIDES * math.sqrt(last_w * last_h)
        return settings.match - (self.NEAR_LENIENCE if is_near else 0.0)


def search_windows(box: Box, image_width: int, image_height: int, factor: float) -> Iterator[CropWindow]:
    """Windows for a search without end, in turn: around ``box`` with a side of ``factor`` target sides, the same widened,
    and the next of the tiles that cover the image, nearest first, again and again. Tiles are as large as the widened window
    and overlap by a target side, so that none cuts the target in two."""
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
    """Where windows of ``side`` begin along one axis, so that with one at ``start`` they cover [0, ``length``]."""
    stride = max(side - overlap, 1.0)
    first = -math.ceil(max(start, 0.0) / stride)
    last = math.ceil(max(length - start - side, 0.0) / stride)
    return [start + stride * number for number in range(first, last + 1)]
