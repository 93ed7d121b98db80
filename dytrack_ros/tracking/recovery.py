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
from dytrack_ros.tracking.picture import Picture


@dataclass(frozen=True)
class RecoverySettings:
    """What a tracker does about a doubtful or lost target.

    ``deepen``: while the target is not TRACKING, the exit policy is told a score of 0, so that frames go as deep as time
    allows. ``search``: whether a lost target is looked for in the whole image, or only around where it was last seen.
    ``match``: how alike (:meth:`Appearance.likeness`) to its kept looks it must be to be taken for the target."""

    deepen: bool = True
    search: bool = True
    match: float = 0.5

    def __post_init__(self) -> None:
        if not -1 <= self.match <= 1:
            raise ValueError(f"match is {self.match}; it must lie in [-1, 1] (-1 = anything matches)")


class Recovery:
    """What is kept of a target for the case that it is lost, and the search for it.

    Each frame of a search looks at one window, so it takes no longer than any other frame: the window where the target was
    last seen, in turn with the next one of the image's tiles, nearest first. A find counts when a second frame,
    looking right there, agrees.
    """

    # Windows of the search reach half as far again as those of tracking: fewer of them, and scales that training has seen.
    WIDENING = 1.5
    HOME_EVERY = 3  # every third window is where the target was last seen

    def __init__(self, image: np.ndarray | Picture, box: Box):
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

    def remember(self, image: np.ndarray | Picture, box: Box) -> None:
        """Tells of a frame in which the target was surely in ``box``."""
        self._last_seen = box
        self._appearance.remember(image, box)
        self._windows = self._candidate = None

    def window(self, image_width: int, image_height: int, factor: float, settings: RecoverySettings) -> CropWindow:
        """Where to look in the next frame; ``factor`` is the search region's side in target sides."""
        if self._candidate is not None:
            return CropWindow.around(self._candidate, factor)
        home = CropWindow.around(self._last_seen, factor)
        if not settings.search:
            return home
        if self._windows is None:
            self._windows = search_windows(self._last_seen, image_width, image_height, factor * self.WIDENING)
        return next(self._windows)

    def is_found(self, image: np.ndarray | Picture, box: Box, is_sure: bool, settings: RecoverySettings) -> bool:
        """Whether the target is back, now that the window given last has shown ``box``, ``is_sure`` by its score."""
        candidate, self._candidate = self._candidate, None
        if not is_sure or self._appearance.likeness(image, box) < settings.match:
            return False
        if candidate is not None and iou(candidate, box) > 0:
            self._last_seen, self._windows = box, None
            return True
        self._candidate = box
        return False


def search_windows(box: Box, image_width: int, image_height: int, factor: float) -> Iterator[CropWindow]:
    """Windows for a search without end: tiles that cover the image, nearest to ``box`` first, again and again, and every
    third one around ``box``. Their side is ``factor`` target sides; neighbours overlap by one, so that none cuts the target
    in two."""
    home = CropWindow.around(box, factor)
    overlap = home.side / factor
    lefts = _positions(home.left, home.side, overlap, image_width)
    tops = _positions(home.top, home.side, overlap, image_height)
    tiles = sorted(
        (CropWindow(left, top, home.side) for left, top in itertools.product(lefts, tops)),
        key=lambda tile: math.hypot(tile.left - home.left, tile.top - home.top),
    )
    tiles = itertools.cycle(tiles)
    for number in itertools.count():
        yield home if number % Recovery.HOME_EVERY == 0 else next(tiles)


def _positions(start: float, side: float, overlap: float, length: int) -> list[float]:
    """Where windows of ``side`` begin along one axis, so that with one at ``start`` they cover [0, ``length``]."""
    stride = max(side - overlap, 1.0)
    first = -math.ceil(max(start, 0.0) / stride)
    last = math.ceil(max(length - start - side, 0.0) / stride)
    return [start + stride * number for number in range(first, last + 1)]
