"""Random draws for a batch, and the photometric changes: colour, resolution, blur. Crops are in [0, 255]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

GREY_WEIGHTS = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Draw:
    """Draws random numbers for each of ``batch`` members from ``generator``, in the order of the calls."""

    batch: int
    generator: torch.Generator
    device: torch.device

    def share(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), (B, *shape)."""
        return torch.rand(self.batch, *shape, generator=self.generator, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [-1, 1), (B, *shape)."""
        return self.share(*shape) * 2 - 1

    def normal(self, *shape: int) -> Tensor:
        """Normal with mean 0 and variance 1, (B, *shape)."""
        return torch.randn(self.batch, *shape, generator=self.generator, device=self.device)

    def laplace(self, *shape: int) -> Tensor:
        """Laplace with mean 0 and mean absolute value 1, (B, *shape)."""
        position = self.uniform(*shape)
        return -torch.sign(position) * torch.log1p(-position.abs().clamp(max=1 - 1e-6))

    def chance(self, probability: float) -> Tensor:
        """True with that probability, bool (B,)."""
        return self.share() < probability


def each(chosen: Tensor) -> Tensor:
    """A boolean of each member (B,) for all pixels of its crop, (B, 1, 1, 1)."""
    return chosen[:, None, None, None]


def coloured(crop: Tensor, strengths: tuple[float, float, float], grey: Tensor, draw: Draw) -> Tensor:
    """Changes brightness, contrast and saturation of crops (B, 3, S, S), each within 1 +- its strength.

    The members chosen by ``grey`` (B,) lose their colour.
    """
    brightness, contrast, saturation = (1 + strength * draw.uniform(1, 1, 1) for strength in strengths)
    red, green, blue = GREY_WEIGHTS
    luminance = red * crop[:, :1] + green * crop[:, 1:2] + blue * crop[:, 2:]
    saturation = torch.where(each(grey), torch.zeros_like(saturation), saturation)
    crop = torch.lerp(luminance, crop, saturation)
    mean = luminance.mean(dim=(2, 3), keepdim=True)
    return ((crop - mean) * contrast + mean) * brightness


def low_resolution(crop: Tensor, chosen: Tensor, factor: int) -> Tensor:
    """Shrinks the chosen crops by ``factor`` and enlarges them again."""
    coarse = F.avg_pool2d(crop, factor)
    coarse = F.interpolate(coarse, size=crop.shape[2:], mode="bilinear", align_corners=False)
    return torch.where(each(chosen), coarse, crop)


def gaussian_blur(crop: Tensor, chosen: Tensor, sigma: Tensor, radius: int = 4) -> Tensor:
    """Blurs the chosen crops by ``sigma`` (B,) pixels."""
    taps = torch.arange(-radius, radius + 1, device=crop.device, dtype=torch.float32)
    kernel = torch.exp(-(taps**2) / (2 * sigma[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    rows = _filtered(crop, kernel[:, None, :])
    return torch.where(each(chosen), _filtered(rows, kernel[:, :, None]), crop)


def motion_blur(crop: Tensor, chosen: Tensor, angle: Tensor, radius: int = 4) -> Tensor:
    """Blurs the chosen crops along a line at ``angle`` (B,) in radians, ``radius`` pixels each way."""
    grid = torch.arange(-radius, radius + 1, device=crop.device, dtype=torch.float32)
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    kernel = (1 - (grid[None, :, None] * cos - grid[None, None, :] * sin).abs()).clamp(min=0)
    kernel = kernel / kernel.sum(dim=(1, 2), keepdim=True)
    return torch.where(each(chosen), _filtered(crop, kernel), crop)


def _filtered(crop: Tensor, kernel: Tensor) -> Tensor:
    """Filters each image of the batch by its own kernel (B, kh, kw), replicated at the border."""
    batch, channels, height, width = crop.shape
    kh, kw = kernel.shape[1:]
    padded = F.pad(crop, (kw // 2, kw // 2, kh // 2, kh // 2), mode="replicate")
    stacked = padded.reshape(1, batch * channels, height + kh - 1, width + kw - 1)
    kernels = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(stacked, kernels, groups=batch * channels).view(batch, channels, height, width)
