"""The losses of Section III-D, and the module that computes all of them for a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dytrack_ros.model.dytrack import DyTrack, ExitOutput, normalize
from dytrack_ros.training.augmentation import CropBatch
from dytrack_ros.training.distillation import SelfDistillation, Teacher, heat_loss, token_loss


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
    """KL divergence (B,) of the heat maps (B, 2, H, W) from the true corners, each spread over four cells.

    It supervises each cell, where the box losses supervise only the expectation; heads learn in far fewer steps
    (cf. the regularised soft-argmax of Nibali et al., "DSNT", 2018).
    """
    batch, _, height, width = log_heat_maps.shape
    corners = truth.view(batch, 2, 2)
    loss = log_target = log_heat_maps.new_zeros(batch, 2)
    for xs, x_weight in _neighbours(corners[..., 0], width):
        for ys, y_weight in _neighbours(corners[..., 1], height):
            weight = x_weight * y_weight
            log_heat = log_heat_maps.flatten(2).gather(2, (ys * width + xs)[..., None])[..., 0]
            loss = loss - weight * log_heat
            log_target = log_target + torch.xlogy(weight, weight)
    return (loss + log_target).mean(1)


def _neighbours(position: Tensor, cells: int) -> list[tuple[Tensor, Tensor]]:
    """The two cells beside ``position`` in [0, 1], with their bilinear weights."""
    index = (position * cells - 0.5).clamp(0, cells - 1)
    low = index.floor()
    part = index - low
    return [(low.long(), 1 - part), ((low.long() + 1).clamp(max=cells - 1), part)]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses.

    Beyond the paper: ``corner`` (:func:`corner_loss`), and ``tokens`` and ``heat`` (a teacher).
    """

    l1: float = 5.0
    giou: float = 2.0
    iou: float = 5.0
    imitation: float = 10.0
    corner: float = 0.0
    tokens: float = 50.0
    heat: float = 4.0


def exit_loss(output: ExitOutput, truth: Tensor, present: Tensor, weights: LossWeights) -> tuple[Tensor, Tensor]:
    """Returns one exit's loss, 5 L1 + 2 GIoU + 5 L2(s_k, IoU(box_k, truth)), and the mean IoU of its boxes (detached).

    Where the target is not ``present`` (B,), the score's target is 0 and the box losses are left out.
    """
    iou = box_iou(output.box.detach(), truth) * present
    box_loss = weights.l1 * (output.box - truth).abs().mean(1) + weights.giou * giou_loss(output.box, truth)
    if weights.corner:
        box_loss = box_loss + weights.corner * corner_loss(output.log_heat_maps, truth)
    count = present.sum().clamp(min=1)
    loss = (box_loss * present).sum() / count + weights.iou * F.mse_loss(output.score, iou)
    return loss, iou.sum() / count


class TrainingLoss(nn.Module):
    """The network with its losses: what a training step differentiates.

    ``exits`` are the positions of the exits that are computed, ``amp`` the autocast type or None.
    """

    def __init__(
        self,
        model: DyTrack,
        distillation: SelfDistillation,
        exits: list[int],
        weights: LossWeights,
        amp: torch.dtype | None,
        teacher: Teacher | None = None,
    ):
        super().__init__()
        self.model, self.distillation, self.teacher = model, distillation, teacher
        self.exits, self.weights, self.amp = exits, weights, amp

    def forward(self, crops: CropBatch, learning: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of the exits that are ``learning``, and figures for the curves.

        The figures are tensors, so that no step waits for the device.
        """
        template, search = normalize(crops.template), normalize(crops.search)
        with torch.autocast(crops.search.device.type, dtype=self.amp, enabled=self.amp is not None):
            outputs: list[ExitOutput] = self.model(template, search, self.exits)
            taught = self.teacher(template, search, self.exits) if self.teacher else None
        figures: dict[str, Tensor] = {}
        total = crops.box.new_zeros(())
        for position, output in zip(self.exits, outputs, strict=True):
            if position in learning:
                loss, iou = exit_loss(output, crops.box, crops.present, self.weights)
                total = total + loss
                figures[f"iou_{position + 1}"] = iou
                figures[f"score_{position + 1}"] = _mean(output.score.detach(), crops.present)
                figures[f"absent_{position + 1}"] = _mean(output.score.detach(), ~crops.present)
        imitation = self.distillation([output.features for output in outputs], learning)
        figures["imitation"] = imitation.detach()
        total = total + self.weights.imitation * imitation
        if taught is not None:
            tokens = token_loss(outputs, taught) if taught.tokens else total.new_zeros(())
            heat = torch.stack([_mean(heat_loss(output, taught), crops.present) for output in outputs]).mean()
            figures["teacher_tokens"], figures["teacher_heat"] = tokens.detach(), heat.detach()
            total = total + self.weights.tokens * tokens + self.weights.heat * heat
        figures["loss"] = total.detach()
        return total, figures


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the chosen values (B,), NaN if there are none. Unlike indexing, it does not wait for the device."""
    return (values * where).sum() / where.sum()
