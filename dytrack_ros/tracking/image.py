"""What a camera saw, left as it lies in memory: square windows are cut out of it, and only they are converted.

numpy and OpenCV only. Whoever has pixels in another form than a BGR array derives from :class:`ImageView`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import cv2
import numpy as np

# How far around a window pixels may count. Bilinear interpolation looks up to one pixel beyond it and rounds places to
# 1/32; colours from a mosaic come from one pixel further, and at a picture's border from the pixel beside that.
_MARGIN_PX = 4


class ImageView(ABC):
    """A picture of `height` x `width` pixels, both at least 1.

    `block` is the smallest part that has colours of its own, (rows, columns): (1, 1) where every pixel does. Height and
    width are multiples of it.
    """

    block = (1, 1)

    def __init__(self, height: int, width: int) -> None:
        self.height = height
        self.width = width

    def square(self, left: float, top: float, side: float, size: int) -> np.ndarray:
        """A square window as RGB uint8 (size, size, 3), bilinear, black outside the picture.

        ``left``, ``top``, ``side`` > 0 are in pixels, anywhere; geometry as in ``dytrack_ros.tracking.crop``. Reads,
        copies and converts no more of the picture than lies around the window.
        """
        rows = _reach(top, side, self.height, self.block[0])
        columns = _reach(left, side, self.width, self.block[1])
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return np.zeros((size, size, 3), np.uint8)
        scale = side / size
        centre = scale / 2 - 0.5
        to_part = np.array(
            [[scale, 0, left + centre - columns.start], [0, scale, top + centre - rows.start]], dtype=np.float64
        )
        crop = cv2.warpAffine(
            self.part(rows, columns),
            to_part,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0, 0),
        )
        return self.to_rgb(crop)

    @abstractmethod
    def part(self, rows: slice, columns: slice) -> np.ndarray:
        """The uint8 pixels (rows, columns[, up to 4 channels]) of a part made of whole blocks, as `to_rgb` takes them.

        At least the pixels 2 and more away from the part's inner borders must be those of the whole picture.
        """

    @abstractmethod
    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels as `part` gives them as RGB uint8 (rows, columns, 3)."""

    @abstractmethod
    def bgr(self) -> np.ndarray:
        """The whole picture as BGR uint8 (height, width, 3); may be a view of its memory, so treat it as read-only."""


class BgrPicture(ImageView):
    """A BGR image, uint8 (height, width, 3), of any strides; it is not copied."""

    def __init__(self, image: np.ndarray) -> None:
        super().__init__(*image.shape[:2])
        self._image = image

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        return self._image[rows, columns]

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

    def bgr(self) -> np.ndarray:
        return self._image


def as_image_view(image: np.ndarray | ImageView) -> ImageView:
    """A picture as it is, a BGR image (H, W, 3) uint8 as a picture. Raises ValueError for anything else."""
    if isinstance(image, ImageView):
        return image
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image must be a BGR uint8 array of (height, width, 3), not {got}")
    if not image.size:
        raise ValueError(f"an image must not be empty, but its shape is {image.shape}")
    return BgrPicture(image)


def _reach(start: float, length: float, limit: int, block: int) -> slice:
    """What counts for a window along one side of the picture, in whole blocks; empty where they do not meet."""
    first = max(math.floor(start) - _MARGIN_PX, 0)
    last = min(math.ceil(start + length) + _MARGIN_PX, limit)
    return slice(first - first % block, last + -last % block)
