"""STARK's corner head with RepVGG blocks: the box as the expectation of two corner heat maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm(nn.Sequential):
    """Convolution without bias and its batch norm: one branch of a RepVGG block."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int):
        super().__init__()
        self.add_module("conv", nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False))
        self.add_module("norm", nn.BatchNorm2d(channels_out))


def _folded(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias that do what ``norm`` does (with its running statistics) after a convolution by ``weight``."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class RepVGGBlock(nn.Module):
    """3x3, 1x1 and (where the channels agree) identity branches in training, one 3x3 convolution after :meth:`fuse`.

    Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.dense = ConvNorm(channels_in, channels_out, 3)
        self.pointwise = ConvNorm(channels_in, channels_out, 1)
        self.identity = nn.BatchNorm2d(channels_in) if channels_in == channels_out else None
        self.fused: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.fused is not None:
            return F.relu(self.fused(x))
        y = self.dense(x) + self.pointwise(x)
        if self.identity is not None:
            y = y + self.identity(x)
        return F.relu(y)

    @torch.no_grad()
    def fuse(self) -> None:
        """Replaces the branches by the one convolution that equals them in evaluation mode."""
        if self.fused is not None:
            return
        kernel, bias = _folded(self.dense.conv.weight, self.dense.norm)
        point_kernel, point_bias = _folded(self.pointwise.conv.weight, self.pointwise.norm)
        kernel = kernel + F.pad(point_kernel, (1, 1, 1, 1))
        bias = bias + point_bias
        channels_out, channels_in = kernel.shape[:2]
        if self.identity is not None:
            eye = torch.eye(channels_in, dtype=kernel.dtype, device=kernel.device)[:, :, None, None]
            identity_kernel, identity_bias = _folded(eye, self.identity)
            kernel = kernel + F.pad(identity_kernel, (1, 1, 1, 1))
            bias = bias + identity_bias
        self.fused = nn.Conv2d(channels_in, channels_out, 3, padding=1).to(kernel.device, kernel.dtype)
        self.fused.weight.copy_(kernel)
        self.fused.bias.copy_(bias)
        del self.dense, self.pointwise
        self.identity = None


class CornerHead(nn.Module):
    """Search features (B, C, H, W) to the box (B, 4) as (x1, y1, x2, y2) in [0, 1] of the search region.

    Four RepVGG blocks that halve the channels (STARK's widths; so none of them has an identity branch, unless a preset's
    ``head_channels`` equals its width) and a 1x1 convolution give each corner's heat map; its expectation
    over cell centres, ``(i + 0.5) / W``, is the corner (Yan et al., "STARK", ICCV 2021, Section 3.1).
    """

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.top_left = self._tower(width, channels)
        self.bottom_right = self._tower(width, channels)

    @staticmethod
    def _tower(width: int, channels: int) -> nn.Sequential:
        widths = [width, channels, channels // 2, channels // 4, channels // 8]
        blocks = [RepVGGBlock(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)]
        return nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 1))

    def log_heat_maps(self, features: Tensor) -> Tensor:
        """Logarithms of both corners' probabilities over the cells, (B, 2, H, W), top-left first."""
        logits = torch.cat([self.top_left(features), self.bottom_right(features)], dim=1).float()
        return logits.flatten(2).log_softmax(dim=2).view_as(logits)

    def forward(self, features: Tensor) -> Tensor:
        return self.box(self.log_heat_maps(features))

    @classmethod
    def box(cls, log_heat_maps: Tensor) -> Tensor:
        """The box (B, 4) whose corners are the heat maps' expectations."""
        return torch.cat([cls._expectation(heat) for heat in log_heat_maps.exp().unbind(1)], dim=1)

    @staticmethod
    def _expectation(heat: Tensor) -> Tensor:
        height, width = heat.shape[1:]
        xs = (torch.arange(width, device=heat.device, dtype=heat.dtype) + 0.5) / width
        ys = (torch.arange(height, device=heat.device, dtype=heat.dtype) + 0.5) / height
        return torch.stack([(heat.sum(1) * xs).sum(1), (heat.sum(2) * ys).sum(1)], dim=1)
