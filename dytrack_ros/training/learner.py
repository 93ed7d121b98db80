"""What a training step differentiates: the network with its losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dytrack_ros.model.dytrack import DyTrack, ExitOutput, normalize
from dytrack_ros.training.augmentation import CropBatch
from dytrack_ros.training.distillation import SelfDistillation
from dytrack_ros.training.losses import LossWeights, exit_loss


class Learner(nn.Module):
    """Crops to the whole loss of Section III-D at ``exits`` (positions) of ``model``, computed in ``amp`` if given."""

    def __init__(
        self,
        model: DyTrack,
        distillation: SelfDistillation,
        exits: list[int],
        weights: LossWeights,
        amp: torch.dtype | None,
    ):
        super().__init__()
        self.model, self.distillation = model, distillation
        self.exits, self.weights, self.amp = exits, weights, amp

    def forward(self, crops: CropBatch, learning: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the exits that are ``learning``, and figures for the curves (tensors, so that the device need not
        wait)."""
        with torch.autocast(crops.search.device.type, dtype=self.amp, enabled=self.amp is not None):
            outputs: list[ExitOutput] = self.model(normalize(crops.template), normalize(crops.search), self.exits)
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
        figures["loss"] = total.detach()
        return total, figures


def _mean(score: Tensor, where: Tensor) -> Tensor:
    """The mean of the chosen scores (B,), NaN if there are none; without waiting for the device, as indexing would."""
    return (score * where).sum() / where.sum()
