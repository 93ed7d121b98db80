"""Images in their original memory layout: only the square windows that are needed are cut out and converted.

numpy and OpenCV only. Derive from :class:`ImageView` for pixels that are no BGR array.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

# Pixels around a window that can matter. Bilinear interpolation reads up to one pixel beyond it and rounds positions to
# 1/32; demosaicing reads one pixel further, and at the image border the pixel beside that.
_MARGIN_PX = 4


class ImageView(ABC):
    """An image of ``height`` x ``width`` pixels, both at least 1.

    ``block`` (rows, columns) is the smallest part with complete colour: (1, 1) unless pixels share their colour, as
    in a mosaic or in YUV. Height and width are multiples of it.
    """

    block = (1, 1)

    def __init__(self, height: int, width: int) -> None:
        self.height = height
        self.width = width

    def square(self, left: float, top: float, side: float, size: int) -> Pixels:
        """Return a square window as RGB uint8 (size, size, 3), bilinear, black outside the image.

        ``left``, ``top`` and ``side`` > 0 are in pixels, anywhere; geometry as in ``dytrack_ros.tracking.crop``. Only
        the part of the image around the window is read and converted.
        """
        rows = _read_range(top, side, self.height, self.block[0])
        columns = _read_range(left, side, self.width, self.block[1])
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
        return self.to_rgb(np.asarray(crop, np.uint8))

    @abstractmethod
    def part(self, rows: slice, columns: slice) -> Pixels:
        """Return whole blocks as uint8 (rows, columns[, up to 4 channels]), in the form that :meth:`to_rgb` takes.

        Pixels at least 2 away from the part's inner borders must equal those of the whole image.
        """

    @abstractmethod
    def to_rgb(self, pixels: Pixels) -> Pixels:
        """Convert pixels from :meth:`part` to RGB uint8 (rows, columns, 3)."""

    @abstractmethod
    def bgr(self) -> Pixels:
        """Return the whole image as BGR uint8 (height, width, 3). It may share memory: treat it as read-only."""


class BgrView(ImageView):
    """A BGR image, uint8 (height, width, 3), of any strides; it is not copied."""

    def __init__(self, image: Pixels) -> None:
        super().__init__(*image.shape[:2])
        self._image = image

    def part(self, rows: slice, columns: slice) -> Pixels:
        return self._image[rows, columns]

    def to_rgb(self, pixels: Pixels) -> Pixels:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)

    def bgr(self) -> Pixels:
        return self._image


def as_image_view(image: Pixels | ImageView) -> ImageView:
    """Return an ImageView as it is, a BGR image (H, W, 3) uint8 as a view. Raises ValueError for anything else."""
    if isinstance(image, ImageView):
        return image
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image must be a BGR uint8 array of (height, width, 3), not {got}")
    if not image.size:
        raise ValueError(f"an image must not be empty, but its shape is {image.shape}")
    return BgrView(image)


def _read_range(start: float, length: float, limit: int, block: int) -> slice:
    """The pixels to read for a window along one axis, in whole blocks; empty if window and image do not meet."""
    first = max(math.floor(start) - _MARGIN_PX, 0)
    last = min(math.ceil(start + length) + _MARGIN_PX, limit)
    return slice(first - first % block, last + -last % block)
