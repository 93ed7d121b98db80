"""The bank of training images, and batches of crops cut from it on the device.

The geometry is that of ``dytrack_ros.tracking.crop``: pixel j of an image covers [j, j + 1), so the centre of crop
pixel i lies at ``left + (i + 0.5) * side / size`` in the image. What is outside the image is black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dytrack_ros.data.datasets import ImageDataset
from dytrack_ros.data.labels import ImageTable
from dytrack_ros.model.presets import BACKGROUND_MASK_COLOUR


@dataclass
class ImageBank:
    """Images as bytes in one array on the training device.

    ``pixels`` (P, 3) uint8 holds image after image, row by row. Image i starts at ``offsets[i]`` and has
    ``widths[i]`` x ``heights[i]`` pixels.
    """

    pixels: Tensor
    offsets: Tensor
    widths: Tensor
    heights: Tensor
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        self.device = self.pixels.device

    @classmethod
    def load(cls, dataset: ImageDataset, device: str | torch.device = "cpu", progress: bool = True) -> ImageBank:
        """Decodes all images of a data set."""
        images = ImageTable.of(dataset.images)
        sizes = images.widths.astype(np.int64) * images.heights
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        pixels = np.empty((offsets[-1], 3), np.uint8)
        for number in tqdm(range(len(sizes)), desc="decoding images", unit="img", disable=not progress):
            pixels[offsets[number] : offsets[number + 1]] = dataset.pixels(number).reshape(-1, 3)
        return cls._of(pixels, offsets, images.widths, images.heights).to(device)

    @classmethod
    def pack(cls, images: Sequence[np.ndarray]) -> ImageBank:
        """Holds these images, uint8 RGB, HxWx3."""
        heights, widths = (np.asarray([image.shape[axis] for image in images], np.int64) for axis in (0, 1))
        pixels = np.concatenate([np.zeros((0, 3), np.uint8), *(image.reshape(-1, 3) for image in images)])
        return cls._of(pixels, np.concatenate([[0], np.cumsum(widths * heights)]), widths, heights)

    @classmethod
    def _of(cls, pixels: np.ndarray, offsets: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> ImageBank:
        numbers = (torch.as_tensor(np.asarray(values, np.int64)) for values in (offsets[:-1], widths, heights))
        return cls(torch.from_numpy(pixels), *numbers)

    def to(self, device: str | torch.device) -> ImageBank:
        """Copies the bank to ``device``."""
        return ImageBank(*(tensor.to(device) for tensor in (self.pixels, self.offsets, self.widths, self.heights)))

    def sizes(self, image: Tensor) -> Tensor:
        """Width and height (B, 2) of the images of these numbers (B,)."""
        return torch.stack([self.widths[image], self.heights[image]], dim=1).float()


def crop_window(box: Tensor, factor: float, shift: Tensor, log_scale: Tensor, log_aspect: Tensor) -> Tensor:
    """Windows (B, 4) as (left, top, width, height) in image pixels around ``box`` (B, 4).

    ``shift`` (B, 2) moves them, in units of the window's size divided by ``factor``: in target sides sqrt(w * h) of an
    unstretched window. ``log_scale`` and ``log_aspect`` (B,) stretch them.
    """
    side = torch.ceil(torch.sqrt(box[:, 2] * box[:, 3]) * factor)
    width = side * torch.exp(log_scale + log_aspect / 2)
    height = side * torch.exp(log_scale - log_aspect / 2)
    size = torch.stack([width, height], dim=1)
    centre = box[:, :2] + box[:, 2:] / 2 + shift * size / factor
    return torch.cat([centre - size / 2, size], dim=1)


def box_in_window(box: Tensor, window: Tensor) -> Tensor:
    """``box`` (B, 4) as (x, y, w, h) in pixels to (x1, y1, x2, y2) in units of the window."""
    corners = torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], dim=1)
    return (corners - window[:, :2].repeat(1, 2)) / window[:, 2:].repeat(1, 2)


def sample_crops(bank: ImageBank, image: Tensor, window: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cuts ``window`` (B, 4) out of the images ``image`` (B,) by bilinear interpolation.

    Returns crops (B, 3, size, size) in [0, 255], black outside the image, and where they show the image, bool
    (B, 1, size, size).
    """
    steps = (torch.arange(size, device=bank.device, dtype=torch.float32) + 0.5) / size
    widths, heights = bank.widths[image, None], bank.heights[image, None]
    xs, ys = window[:, :1] + steps * window[:, 2:3], window[:, 1:2] + steps * window[:, 3:]
    (x_low, x_weight), (y_low, y_weight) = _lattice(xs), _lattice(ys)
    shown = ((xs >= 0) & (xs < widths))[:, None, :] & ((ys >= 0) & (ys < heights))[:, :, None]
    offsets = bank.offsets[image, None, None]

    def corner(xs: Tensor, ys: Tensor) -> Tensor:
        inside = ((xs >= 0) & (xs < widths))[:, None, :] & ((ys >= 0) & (ys < heights))[:, :, None]
        rows = ys.minimum(heights - 1).clamp(min=0)[:, :, None] * widths[:, :, None]
        columns = xs.minimum(widths - 1).clamp(min=0)[:, None, :]
        return bank.pixels[offsets + rows + columns].float() * inside[..., None]

    right, bottom = x_weight[:, None, :, None], y_weight[:, :, None, None]
    upper = torch.lerp(corner(x_low, y_low), corner(x_low + 1, y_low), right)
    lower = torch.lerp(corner(x_low, y_low + 1), corner(x_low + 1, y_low + 1), right)
    return torch.lerp(upper, lower, bottom).permute(0, 3, 1, 2).contiguous(), shown[:, None]


def _lattice(position: Tensor) -> tuple[Tensor, Tensor]:
    """The pixel whose centre is at or before ``position``, and how far towards the next one it lies, in [0, 1)."""
    index = position - 0.5
    low = torch.floor(index)
    return low.long(), index - low


def with_background_mask(crops: Tensor, box: Tensor, opacity: float) -> Tensor:
    """Covers what surrounds ``box`` (B, 4), in units of the crop's side, in crops (B, 3, S, S) in [0, 255].

    Same result as :func:`dytrack_ros.tracking.crop.with_background_mask`.
    """
    size = crops.shape[-1]
    pixels = torch.arange(size, device=crops.device, dtype=torch.float32)
    low, high = box[:, :2, None] * size, box[:, 2:, None] * size
    covered = (torch.minimum(high, pixels + 1) - torch.maximum(low, pixels)).clamp(0, 1)  # (B, 2, S): along x, along y
    outside = 1 - covered[:, 0, None, :] * covered[:, 1, :, None]
    colour = torch.tensor(BACKGROUND_MASK_COLOUR, device=crops.device, dtype=torch.float32)[:, None, None]
    return torch.lerp(crops, colour.expand_as(crops), opacity * outside[:, None])
