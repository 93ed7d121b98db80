"""How a camera changes what is seen: colours, resolution, blur. All take crops in [0, 255] and the members they change."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dytrack_ros.training.draw import Draw, each

GREY_WEIGHTS = (0.299, 0.587, 0.114)


def coloured(crop: Tensor, strengths: tuple[float, float, float], grey: Tensor, draw: Draw) -> Tensor:
    """Crops (B, 3, S, S) with other brightness, contrast and saturation, each within 1 +- its strength; those chosen as
    ``grey`` (B,) without colour."""
    brightness, contrast, saturation = (1 + strength * draw.uniform(1, 1, 1) for strength in strengths)
    red, green, blue = GREY_WEIGHTS
    luminance = red * crop[:, :1] + green * crop[:, 1:2] + blue * crop[:, 2:]
    saturation = torch.where(each(grey), torch.zeros_like(saturation), saturation)
    crop = torch.lerp(luminance, crop, saturation)
    mean = luminance.mean(dim=(2, 3), keepdim=True)
    return ((crop - mean) * contrast + mean) * brightness


def low_resolution(crop: Tensor, chosen: Tensor, factor: int) -> Tensor:
    """As if the camera had 1 / ``factor`` as many pixels a side."""
    coarse = F.avg_pool2d(crop, factor)
    coarse = F.interpolate(coarse, size=crop.shape[2:], mode="bilinear", align_corners=False)
    return torch.where(each(chosen), coarse, crop)


def gaussian_blur(crop: Tensor, chosen: Tensor, sigma: Tensor, radius: int = 4) -> Tensor:
    """Blurred by ``sigma`` (B,) pixels."""
    taps = torch.arange(-radius, radius + 1, device=crop.device, dtype=torch.float32)
    kernel = torch.exp(-(taps**2) / (2 * sigma[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    rows = _filtered(crop, kernel[:, None, :])
    return torch.where(each(chosen), _filtered(rows, kernel[:, :, None]), crop)


def motion_blur(crop: Tensor, chosen: Tensor, angle: Tensor, radius: int = 4) -> Tensor:
    """Blurred along a line at ``angle`` (B,), ``radius`` pixels each way."""
    grid = torch.arange(-radius, radius + 1, device=crop.device, dtype=torch.float32)
    across = (
        grid[None, :, None] * torch.cos(angle)[:, None, None] - grid[None, None, :] * torch.sin(angle)[:, None, None]
    )
    kernel = (1 - across.abs()).clamp(min=0)
    kernel = kernel / kernel.sum(dim=(1, 2), keepdim=True)
    return torch.where(each(chosen), _filtered(crop, kernel), crop)


def _filtered(crop: Tensor, kernel: Tensor) -> Tensor:
    """Each image of the batch filtered by its own kernel (B, kh, kw), replicated at the border."""
    batch, channels, height, width = crop.shape
    kh, kw = kernel.shape[1:]
    padded = F.pad(crop, (kw // 2, kw // 2, kh // 2, kh // 2), mode="replicate")
    stacked = padded.reshape(1, batch * channels, height + kh - 1, width + kw - 1)
    kernels = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(stacked, kernels, groups=batch * channels).view(batch, channels, height, width)
