"""Target-aware self-distillation (Section III-E), and distillation from a wider network (beyond the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dytrack_ros.model.dytrack import DyTrack, ExitOutput

MODES = ("off", "plain", "target_aware")


class ImitationAttention(nn.Module):
    """G_k: re-weights the student's features f_k by a spatial map and channel attention computed from f_K.

    The spatial map: a 1x1 convolution and a linear layer over the positions. The channel attention: the same, with a
    softmax over space that pools the features. Used in training only.
    """

    def __init__(self, width: int, positions: int):
        super().__init__()
        self.spatial_conv = nn.Linear(width, 1)  # a 1x1 convolution over tokens
        self.spatial_linear = nn.Linear(positions, positions)
        self.channel_conv = nn.Linear(width, 1)
        self.channel_linear = nn.Linear(width, width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Maps student f_k and teacher f_K, (B, N, C) each, to the attended student f'_k (B, N, C)."""
        spatial = torch.sigmoid(self.spatial_linear(self.spatial_conv(teacher)[..., 0]))
        where = self.channel_conv(teacher).softmax(dim=1)
        channel = torch.sigmoid(self.channel_linear((where * teacher).sum(1)))
        return student * spatial[:, :, None] * channel[:, None, :]


class SelfDistillation(nn.Module):
    """The imitation loss: mean over k < K of 1 - cos(f'_k, f_K), with f'_k = f_k in mode ``plain``.

    The cosine is that of whole feature maps; token by token it would not depend on the spatial map. f_K is detached.
    """

    def __init__(self, mode: str, width: int, positions: int, exit_count: int):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"distillation {mode!r} must be one of {', '.join(MODES)}")
        self.mode = mode
        attended = exit_count - 1 if mode == "target_aware" else 0
        self.attention = nn.ModuleList(ImitationAttention(width, positions) for _ in range(attended))

    def forward(self, features: Sequence[Tensor], students: Sequence[int] | None = None) -> Tensor:
        """Maps the search features of all exits, (B, N, C) each, to the scalar loss.

        ``students`` are the positions of the exits that learn; all but the last by default.
        """
        teacher = features[-1].detach().float()
        last = len(features) - 1
        learning = [position for position in (range(last) if students is None else students) if position < last]
        if self.mode == "off" or not learning:
            return teacher.new_zeros(())
        losses = []
        for position in learning:
            student = features[position].float()
            if self.mode == "target_aware":
                student = self.attention[position](student, teacher)
            losses.append(1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1), dim=1).mean())
        return torch.stack(losses).mean()


class TeacherOutput(NamedTuple):
    """A teacher's encoder ``tokens`` at each exit, projected to the student's width, (B, N, c) each (none without a
    projection), and the ``log_heat_maps`` (B, 2, H, W) of its last exit."""

    tokens: list[Tensor]
    log_heat_maps: Tensor


class Teacher(nn.Module):
    """A frozen ``network``, and the ``projection`` (C, c) of its tokens to the student's width.

    ``research/width_reduction.py`` gives the projection; without one only the heat maps teach.
    """

    projection: Tensor | None

    def __init__(self, network: DyTrack, projection: Tensor | None = None):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("projection", projection)

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode whatever ``mode`` is."""
        return self

    @torch.no_grad()
    def forward(self, template: Tensor, search: Tensor, exits: list[int] | None = None) -> TeacherOutput:
        """Runs the network on normalised crops (B, 3, H, W), up to the ``exits`` (positions; None: all)."""
        outputs = self.network(template, search, exits)
        projection = self.projection
        tokens = [] if projection is None else [output.tokens.float() @ projection for output in outputs]
        return TeacherOutput(tokens, outputs[-1].log_heat_maps)


def token_loss(outputs: list[ExitOutput], taught: TeacherOutput) -> Tensor:
    """Mean over exits and tokens of 1 - cos(student's encoder token, teacher's token)."""
    losses = [
        1 - F.cosine_similarity(output.tokens.float(), tokens, dim=2).mean()
        for output, tokens in zip(outputs, taught.tokens, strict=True)
    ]
    return torch.stack(losses).mean()


def heat_loss(output: ExitOutput, taught: TeacherOutput) -> Tensor:
    """Kullback-Leibler divergence (B,) of an exit's heat maps from the teacher's, mean over the two corners."""
    target, learnt = taught.log_heat_maps.flatten(2), output.log_heat_maps.flatten(2)
    return (target.exp() * (target - learnt)).sum(2).mean(1)
