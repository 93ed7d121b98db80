"""Synthetic video: objects that were cut out, moved and turned before another scene, which moves too.

Two frames of such a video share the object and not what is around it. A still's two crops share both, so that a network
that has seen little else finds targets by their surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dytrack_ros.data.datasets import ImageBank

SEEN = (0.4, 1.0)
"""The sides of what is seen of a scene, in units of the shorter side of its image."""


@dataclass(frozen=True)
class Layer:
    """Crops (B, 3, S, S) of images in which an object is, and how much of each pixel it is, ``alpha`` (B, 1, S, S)."""

    crop: Tensor
    alpha: Tensor

    def before(self, scene: Tensor) -> Tensor:
        """The object before another scene, (B, 3, S, S)."""
        return torch.lerp(scene, self.crop, self.alpha)

    def turned(self, centre: Tensor, turn: Tensor) -> Layer:
        """Everything mapped by the matrices ``turn`` (B, 2, 2) about ``centre`` (B, 2) in [0, 1]."""
        pivot = (centre * 2 - 1)[..., None]
        back = torch.linalg.inv(turn)
        grid = F.affine_grid(torch.cat([back, pivot - back @ pivot], 2), self.crop.shape, align_corners=False)
        both = F.grid_sample(torch.cat([self.crop, self.alpha], 1), grid, align_corners=False)
        return Layer(both[:, :3], both[:, 3:])

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The box of the object's visible pixels as (x1, y1, x2, y2) in [0, 1], (B, 4), and whether there are any, (B,)."""
        shown = self.alpha[:, 0] > 0.5
        ends = [_ends(shown.any(axis)) for axis in (1, 2)]  # columns, rows
        first, last = (torch.stack([axis[end] for axis in ends], 1) for end in (0, 1))
        return torch.cat([first, last], 1), shown.flatten(1).any(1)


def turned_box(layer: Layer, turned: Layer, box: Tensor) -> tuple[Tensor, Tensor]:
    """``box`` (B, 4) moved on each side as the object's bounds were moved by turning it, for a label need not be as tight
    as the mask; and whether anything of the object is seen before and after, bool (B,)."""
    (before, was_seen), (after, is_seen) = layer.bounds(), turned.bounds()
    return box + after - before, was_seen & is_seen


def turns(angle: Tensor, shear: Tensor) -> Tensor:
    """Matrices (B, 2, 2) that turn by ``angle`` (B,) in radians and slant by ``shear`` (B,)."""
    cos, sin, one = torch.cos(angle), torch.sin(angle), torch.ones_like(angle)
    rotation = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    slant = torch.stack([one, shear, torch.zeros_like(angle), one], 1).view(-1, 2, 2)
    return rotation @ slant


def scene_windows(bank: ImageBank, image: Tensor, place: Tensor, seen: Tensor) -> Tensor:
    """Square windows (B, 4) as (left, top, width, height) inside ``image`` (B,): at ``place`` (B, 2) and of a size ``seen``
    (B,), both in [0, 1] of what is possible."""
    size = torch.stack([bank.widths[image], bank.heights[image]], 1).float()
    side = size.amin(1) * (SEEN[0] + (SEEN[1] - SEEN[0]) * seen)
    return torch.cat([place * (size - side[:, None]), side[:, None].expand(-1, 2)], 1)


def moved_within(windows: Tensor, bank: ImageBank, image: Tensor, share: float, motion: Tensor) -> Tensor:
    """The middle ``share`` of ``windows`` (B, 4), moved by ``motion`` (B, 2) in units of their sides, but not out of the
    image: where the camera looked in another frame."""
    size = torch.stack([bank.widths[image], bank.heights[image]], 1).float()
    side = windows[:, 2:] * share
    corner = windows[:, :2] + windows[:, 2:] * ((1 - share) / 2 + motion)
    return torch.cat([torch.minimum(corner.clamp(min=0), size - side), side], 1)


def _ends(shown: Tensor) -> tuple[Tensor, Tensor]:
    """Where the true ones of each row of ``shown`` (B, S) begin and end, in [0, 1]."""
    length = shown.shape[1]
    places = torch.arange(length, device=shown.device)
    first = torch.where(shown, places, length).amin(1)
    last = torch.where(shown, places + 1, 0).amax(1)
    return first / length, last / length
