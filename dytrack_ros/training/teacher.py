"""A wider network as the teacher of one that was cut from it (beyond the paper, whose teacher is the last exit)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dytrack_ros.model.dytrack import DyTrack, ExitOutput


class Lesson(NamedTuple):
    """What the teacher shows of a batch: its encoder ``tokens`` at each exit, projected to the student's width,
    (B, N, c) each, and its last exit's ``log_heat_maps`` (B, 2, H, W)."""

    tokens: list[Tensor]
    log_heat_maps: Tensor


class Teacher(nn.Module):
    """``network``, which no longer learns, and the ``projection`` (C, c) of its tokens to the student's width
    (:func:`~dytrack_ros.training.width_reduction.reduce_width`)."""

    def __init__(self, network: DyTrack, projection: Tensor):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("projection", projection)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode."""
        return self

    @torch.no_grad()
    def forward(self, template: Tensor, search: Tensor) -> Lesson:
        """The lesson of normalised crops."""
        outputs = self.network(template, search)
        tokens = [output.tokens.float() @ self.projection for output in outputs]
        return Lesson(tokens, outputs[-1].log_heat_maps)


def token_loss(outputs: list[ExitOutput], lesson: Lesson) -> Tensor:
    """Mean over exits and tokens of 1 - cos(student's encoder token, teacher's)."""
    losses = [
        1 - F.cosine_similarity(output.tokens.float(), tokens, dim=2).mean()
        for output, tokens in zip(outputs, lesson.tokens, strict=True)
    ]
    return torch.stack(losses).mean()


def heat_loss(output: ExitOutput, lesson: Lesson) -> Tensor:
    """Kullback-Leibler divergence (B,) of an exit's heat maps from the teacher's, mean over the two corners."""
    taught, learnt = lesson.log_heat_maps.flatten(2), output.log_heat_maps.flatten(2)
    return (taught.exp() * (taught - learnt)).sum(2).mean(1)
