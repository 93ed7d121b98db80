"""A camera that changes its resolution while a target is followed."""

from __future__ import annotations

from dytrack_ros.tracking.box import Box

Boxes = tuple[Box, ...]


class Resolution:
    """Keeps boxes at their place in the view when the images' size changes.

    An image of another size is taken for the same view, so the boxes are scaled with it. If the very next image has the
    old size again, the one between was a stray (another camera's, a driver's error) and the boxes before it count.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._before: tuple[tuple[int, int], Boxes] | None = None  # size and boxes, if the last image changed them

    def change(self, width: int, height: int, boxes: Boxes) -> Boxes | None:
        """To be called with every image's size; ``boxes`` (x, y, w, h), pixels, for it, or None if its size is the same."""
        size, before = (width, height), self._before
        self._before = None
        if size == self._size:
            return None
        old_width, old_height = self._size
        self._size = size
        if before is not None and before[0] == size:
            return before[1]
        self._before = (old_width, old_height), boxes
        across, down = width / old_width, height / old_height
        return tuple((x * across, y * down, w * across, h * down) for x, y, w, h in boxes)
