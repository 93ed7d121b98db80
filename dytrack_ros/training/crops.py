"""Crops of windows of images, in batches on the device that holds the images.

The geometry is that of tracking (``dytrack_ros.tracking.crop``): pixel j of an image covers [j, j + 1), so the centre
of crop pixel i lies at ``left + (i + 0.5) * side / size`` in the image, and what is outside the image is black.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dytrack_ros.data.datasets import ImageBank
from dytrack_ros.model.presets import BACKGROUND_MASK_COLOUR


@dataclass(frozen=True)
class View:
    """What a crop of ``size`` px shows of each pair: the ``window`` (B, 4) of ``image`` (B,) around ``box`` (B, 4), all in
    the image's pixels. ``label`` (B, 4) is the box of the whole object there, the data set's number ``object`` (B,)."""

    image: Tensor
    object: Tensor
    label: Tensor
    box: Tensor
    window: Tensor
    size: int

    def crop(self, bank: ImageBank) -> tuple[Tensor, Tensor]:
        return sample_crops(bank, self.image, self.window, self.size)


def crop_window(box: Tensor, factor: float, shift: Tensor, log_scale: Tensor, log_aspect: Tensor) -> Tensor:
    """Windows (B, 4) as (left, top, width, height) in image pixels around ``box`` (B, 4), moved by ``shift`` (B, 2) in
    units of the window's size divided by ``factor`` (the target's side sqrt(w * h), if not stretched), and stretched."""
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
    """Bilinear crops (B, 3, size, size) in [0, 255] of ``window`` (B, 4) in images ``image`` (B,), black outside, and
    where they show the image, bool (B, 1, size, size)."""
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


def with_background_mask(crops: Tensor, box: Tensor, background_mask: float) -> Tensor:
    """Crops (B, 3, S, S) in [0, 255] with the background_mask over what surrounds ``box`` (B, 4), in units of the crop's side, as
    :func:`dytrack_ros.tracking.crop.with_background_mask`."""
    size = crops.shape[-1]
    pixels = torch.arange(size, device=crops.device, dtype=torch.float32)
    low, high = box[:, :2, None] * size, box[:, 2:, None] * size
    covered = (torch.minimum(high, pixels + 1) - torch.maximum(low, pixels)).clamp(0, 1)  # (B, 2, S): along x, along y
    outside = 1 - covered[:, 0, None, :] * covered[:, 1, :, None]
    colour = torch.tensor(BACKGROUND_MASK_COLOUR, device=crops.device, dtype=torch.float32)[:, None, None]
    return torch.lerp(crops, colour.expand_as(crops), background_mask * outside[:, None])
