"""Target-aware self-distillation (Section III-E): the last exit's features teach the earlier exits' features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MODES = ("off", "plain", "target_aware")


class ImitationAttention(nn.Module):
    """G_k: re-weights a student's features by where and in which channels the teacher sees the target.

    The spatial map comes from the teacher by a 1x1 convolution and a linear layer over the positions; the channel
    attention likewise, with a softmax over space that pools the teacher. Used in training only.
    """

    def __init__(self, width: int, positions: int):
        super().__init__()
        self.spatial_conv = nn.Linear(width, 1)  # a 1x1 convolution over tokens
        self.spatial_linear = nn.Linear(positions, positions)
        self.channel_conv = nn.Linear(width, 1)
        self.channel_linear = nn.Linear(width, width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Student f_k and teacher f_K, (B, N, C) each, to the attended student f'_k (B, N, C)."""
        spatial = torch.sigmoid(self.spatial_linear(self.spatial_conv(teacher)[..., 0]))
        where = self.channel_conv(teacher).softmax(dim=1)
        channel = torch.sigmoid(self.channel_linear((where * teacher).sum(1)))
        return student * spatial[:, :, None] * channel[:, None, :]


class SelfDistillation(nn.Module):
    """The imitation loss, mean over k < K of 1 - cos(f'_k, f_K); ``plain`` leaves the students as they are.

    The cosine is that of whole feature maps: taken token by token, it would not see the spatial map. The teacher is
    detached: it teaches and is not taught.
    """

    def __init__(self, mode: str, width: int, positions: int, exit_count: int):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"distillation {mode!r} must be one of {', '.join(MODES)}")
        self.mode = mode
        attended = exit_count - 1 if mode == "target_aware" else 0
        self.attention = nn.ModuleList(ImitationAttention(width, positions) for _ in range(attended))

    def forward(self, features: Sequence[Tensor], students: Sequence[int] | None = None) -> Tensor:
        """Search features of all exits, (B, N, C) each, the teacher's last, to the scalar loss.

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
