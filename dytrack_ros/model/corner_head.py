"""STARK's corner head with RepVGG blocks: the box is the expectation of two corner heat maps."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm: one branch of a RepVGG block."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d

    def __init__(self, channels_in: int, channels_out: int, kernel: int):
        super().__init__()
        self.add_module("conv", nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False))
        self.add_module("norm", nn.BatchNorm2d(channels_out))


def _folded(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return kernel and bias of a convolution by ``weight`` followed by ``norm`` in evaluation mode."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None, "a norm with running statistics"
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    return weight * scale[:, None, None, None], norm.bias - mean * scale


class RepVGGBlock(nn.Module):
    """A RepVGG block: (B, C_in, H, W) to (B, C_out, H, W).

    In training it is the sum of a 3x3, a 1x1 and, if C_in = C_out, an identity branch; after :meth:`fuse` it is one 3x3
    convolution. Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021.
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
        """Replace the branches by the convolution that equals their sum in evaluation mode."""
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
        self.fused.load_state_dict({"weight": kernel, "bias": bias})
        del self.dense, self.pointwise
        self.identity = None


class CornerHead(nn.Module):
    """Box head: search features (B, C, H, W) to the box (B, 4), (x1, y1, x2, y2) in [0, 1] of the search region.

    For each corner four RepVGG blocks, which halve the channels, and a 1x1 convolution give a heat map. The corner is
    its expectation over cell centres, ``(i + 0.5) / W``. Yan et al., "STARK", ICCV 2021, Section 3.1.
    """

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.top_left = self._tower(width, channels)
        self.bottom_right = self._tower(width, channels)

    @staticmethod
    def _tower(width: int, channels: int) -> nn.Sequential:
        widths = [width, channels, channels // 2, channels // 4, channels // 8]
        blocks = [RepVGGBlock(a, b) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 1))

    def log_heat_maps(self, features: Tensor) -> Tensor:
        """Return the log-probabilities (B, 2, H, W) float32 of both corners over the cells, top-left first."""
        logits = torch.cat([self.top_left(features), self.bottom_right(features)], dim=1).float()
        return logits.flatten(2).log_softmax(dim=2).view_as(logits)

    @classmethod
    def box(cls, log_heat_maps: Tensor) -> Tensor:
        """Return the box (B, 4) whose corners are the expectations of heat maps (B, 2, H, W)."""
        return torch.cat([cls._expectation(heat) for heat in log_heat_maps.exp().unbind(1)], dim=1)

    @staticmethod
    def _expectation(heat: Tensor) -> Tensor:
        height, width = heat.shape[1:]
        xs = (torch.arange(width, device=heat.device, dtype=heat.dtype) + 0.5) / width
        ys = (torch.arange(height, device=heat.device, dtype=heat.dtype) + 0.5) / height
        return torch.stack([(heat.sum(1) * xs).sum(1), (heat.sum(2) * ys).sum(1)], dim=1)
