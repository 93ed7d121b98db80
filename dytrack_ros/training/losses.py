"""The losses of Section III-D: boxes, predicted IoU, imitation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dytrack_ros.model.dytrack import ExitOutput


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (B,) of boxes (B, 4) as (x1, y1, x2, y2), row by row; 0 for boxes without area."""
    return _overlap(a, b)[0]


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    size = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    intersection = size.prod(1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (a, b))
    union = area_a + area_b - intersection
    return intersection / union.clamp(min=1e-9), union


def giou_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """1 - GIoU of each pair of boxes, (B,) (Rezatofighi et al., CVPR 2019)."""
    iou, union = _overlap(predicted, truth)
    hull = (torch.maximum(predicted[:, 2:], truth[:, 2:]) - torch.minimum(predicted[:, :2], truth[:, :2])).clamp(min=0)
    hull_area = hull.prod(1).clamp(min=1e-9)
    return 1 - iou + (hull_area - union) / hull_area


def corner_loss(log_heat_maps: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of the heat maps (B, 2, H, W) against the true corners, each spread bilinearly over the four
    cells around it, less that target's own entropy, (B,): 0 for a map whose expectation is the corner with least spread.

    Supervises each cell, where the box losses see only the expectation; heads learn in far fewer steps (the
    regularised soft-argmax of Nibali et al., "DSNT", 2018).
    """
    batch, _, height, width = log_heat_maps.shape
    corners = truth.view(batch, 2, 2)
    log_target, loss = 0.0, 0.0
    for xs, x_weight in _neighbours(corners[..., 0], width):
        for ys, y_weight in _neighbours(corners[..., 1], height):
            weight = x_weight * y_weight
            log_heat = log_heat_maps.flatten(2).gather(2, (ys * width + xs)[..., None])[..., 0]
            loss = loss - weight * log_heat
            log_target = log_target + torch.xlogy(weight, weight)
    return (loss + log_target).mean(1)


def _neighbours(position: Tensor, cells: int) -> list[tuple[Tensor, Tensor]]:
    """The two cells on either side of ``position`` in [0, 1], with their bilinear weights."""
    index = (position * cells - 0.5).clamp(0, cells - 1)
    low = index.floor()
    part = index - low
    return [(low.long(), 1 - part), ((low.long() + 1).clamp(max=cells - 1), part)]


@dataclass(frozen=True)
class LossWeights:
    """The paper's weights; ``corner`` weighs :func:`corner_loss`, ``tokens`` and ``heat`` the losses of a
    :class:`~dytrack_ros.training.teacher.Teacher`, which the paper does not have."""

    l1: float = 5.0
    giou: float = 2.0
    iou: float = 5.0
    imitation: float = 10.0
    corner: float = 0.0
    tokens: float = 50.0
    heat: float = 4.0


def exit_loss(output: ExitOutput, truth: Tensor, present: Tensor, weights: LossWeights) -> tuple[Tensor, Tensor]:
    """One exit's loss, 5 L1 + 2 GIoU + 5 L2(s_k, IoU(box_k, truth)), and the mean IoU of its boxes (detached).

    Where the target is not ``present`` (B,) the IoU to predict is 0 and the box counts for nothing.
    """
    iou = box_iou(output.box.detach(), truth) * present
    box_loss = weights.l1 * (output.box - truth).abs().mean(1) + weights.giou * giou_loss(output.box, truth)
    if weights.corner:
        box_loss = box_loss + weights.corner * corner_loss(output.log_heat_maps, truth)
    count = present.sum().clamp(min=1)
    loss = (box_loss * present).sum() / count + weights.iou * F.mse_loss(output.score, iou)
    return loss, iou.sum() / count
