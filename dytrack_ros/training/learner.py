"""What a training step differentiates: the network with its losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dytrack_ros.model.dytrack import DyTrack, ExitOutput, normalize
from dytrack_ros.training.augmentation import CropBatch
from dytrack_ros.training.distillation import SelfDistillation
from dytrack_ros.training.losses import LossWeights, exit_loss
from dytrack_ros.training.teacher import Lesson, Teacher, heat_loss, token_loss


class Learner(nn.Module):
    """Crops to the whole loss of Section III-D at ``exits`` (positions) of ``model``, computed in ``amp`` if given; with a
    ``teacher`` its lesson counts too."""

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
        """The loss of the exits that are ``learning``, and figures for the curves (tensors, so that the device need not
        wait)."""
        template, search = normalize(crops.template), normalize(crops.search)
        with torch.autocast(crops.search.device.type, dtype=self.amp, enabled=self.amp is not None):
            outputs: list[ExitOutput] = self.model(template, search, self.exits)
            lesson: Lesson | None = self.teacher(template, search) if self.teacher else None
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
        if lesson is not None:
            tokens = token_loss(outputs, lesson)
            heat = torch.stack([_mean(heat_loss(output, lesson), crops.present) for output in outputs]).mean()
            figures["teacher_tokens"], figures["teacher_heat"] = tokens.detach(), heat.detach()
            total = total + self.weights.tokens * tokens + self.weights.heat * heat
        figures["loss"] = total.detach()
        return total, figures


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of the chosen values (B,), NaN if there are none; without waiting for the device, as indexing would."""
    return (values * where).sum() / where.sum()
