"""Square windows of an image and the way back from them.

A window of side S shown as a crop of n x n pixels: the centre of crop pixel i lies at ``left + (i + 0.5) * S / n`` in
the image, where pixel j covers [j, j + 1). ``dytrack_ros.training.crops`` cuts by the same rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dytrack_ros.model.presets import BACKGROUND_MASK_COLOUR
from dytrack_ros.tracking.box import AnyBox, Box
from dytrack_ros.tracking.image import ImageView, Pixels, as_image_view


@dataclass(frozen=True)
class CropWindow:
    """A square of the image, in pixels; it may reach beyond the border."""

    left: float
    top: float
    side: float

    @classmethod
    def around(cls, box: AnyBox, factor: float) -> CropWindow:
        """Return the window centred on ``box`` with side ``ceil(sqrt(w * h) * factor)``."""
        x, y, w, h = box
        side = max(math.ceil(math.sqrt(w * h) * factor), 1)
        return cls(x + w / 2 - side / 2, y + h / 2 - side / 2, side)

    @property
    def box(self) -> Box:
        """The square as (x, y, w, h) in pixels."""
        return self.left, self.top, self.side, self.side

    def to_crop(self, box: AnyBox) -> npt.NDArray[np.float64]:
        """Return ``box`` (x, y, w, h) in pixels as (x1, y1, x2, y2) in units of the window's side."""
        x, y, w, h = box
        corners = np.array([x, y, x + w, y + h]) - [self.left, self.top, self.left, self.top]
        return corners / self.side

    def to_image(self, corners: npt.NDArray[np.floating]) -> Box:
        """Return (x1, y1, x2, y2) in units of the window's side as (x, y, w, h) in pixels of the image."""
        x1, y1, x2, y2 = (float(value) * self.side for value in corners)
        return self.left + x1, self.top + y1, x2 - x1, y2 - y1

    def cut(self, image: Pixels | ImageView, size: int) -> Pixels:
        """Return the window of an ImageView or BGR image (H, W, 3) as RGB (size, size, 3), bilinear, black outside."""
        return as_image_view(image).square(self.left, self.top, self.side, size)


class TemplateShape(Protocol):
    """Template geometry, provided by engines and by ``DyTrackConfig``."""

    @property
    def template_size(self) -> int: ...
    @property
    def template_factor(self) -> float: ...
    @property
    def background_mask(self) -> float: ...


def cut_template(image: Pixels | ImageView, box: AnyBox, shape: TemplateShape) -> Pixels:
    """Return the template of the target in ``box`` (x, y, w, h): RGB (S, S, 3) uint8, background masked."""
    window = CropWindow.around(box, shape.template_factor)
    return with_background_mask(window.cut(image, shape.template_size), window.to_crop(box), shape.background_mask)


def with_background_mask(crop: Pixels, box: npt.ArrayLike, background_mask: float) -> Pixels:
    """Return ``crop`` (S, S, 3) uint8 with a mask of that opacity, in [0, 1), over the background.

    The background is everything outside ``box``, (x1, y1, x2, y2) in units of the crop's side. The mask shows the
    network where the target ends.
    """
    if not background_mask:
        return crop
    size = len(crop)
    pixels = np.arange(size)
    x1, y1, x2, y2 = np.asarray(box) * size
    across, down = (np.clip(np.minimum(b, pixels + 1) - np.maximum(a, pixels), 0, 1) for a, b in ((x1, x2), (y1, y2)))
    opacity = (background_mask * (1 - np.outer(down, across)))[..., None].astype(np.float32)
    return np.rint(crop + opacity * (np.array(BACKGROUND_MASK_COLOUR, np.float32) - crop)).astype(np.uint8)
