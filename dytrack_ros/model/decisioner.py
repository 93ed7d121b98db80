"""The decisioner: what stands at an exit and says how good this exit's box would be (paper, Section III-B)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dytrack_ros.model.vit import LAYER_NORM_EPS, Block


class FeatureRecycling(nn.Module):
    """How the previous decisioner's output r_{k-1} enters this one (paper, Section III-C; schemas of Table III).

    ``b``: h_c = h_k + r_{k-1}.  ``c``: each token of h_k concatenated with its own r_{k-1} and projected
    back to C (appended as further tokens they would be lost at the last exit, whose adapter has no layer).
    ``d``: h_c = h_k + g * r_{k-1} with the gate g = sigmoid(W [h_k, r_{k-1}]).
    ``a`` leaves the input and adds r_{k-1} to the output; ``none`` ignores it.
    """

    def __init__(self, schema: str, width: int):
        super().__init__()
        self.schema = schema
        self.mix = nn.Linear(2 * width, width) if schema in ("c", "d") else None
        if schema == "c":
            # Start as schema (b), so that a pretrained encoder's features pass unharmed.
            with torch.no_grad():
                self.mix.weight.copy_(torch.cat([torch.eye(width), torch.eye(width)], dim=1))
                self.mix.bias.zero_()

    def before(self, h_k: Tensor, r_previous: Tensor) -> Tensor:
        """The decisioner's input h_c, (B, N, C)."""
        if self.schema == "b":
            return h_k + r_previous
        if self.schema == "c":
            return self.mix(torch.cat([h_k, r_previous], dim=-1))
        if self.schema == "d":
            return h_k + torch.sigmoid(self.mix(torch.cat([h_k, r_previous], dim=-1))) * r_previous
        return h_k

    def after(self, r_k: Tensor, r_previous: Tensor) -> Tensor:
        """The decisioner's output with what schema (a) adds to it."""
        return r_k + r_previous if self.schema == "a" else r_k


class Decisioner(nn.Module):
    """Recycling, an adapter of transformer layers, a linear projection, and the predicted IoU of the exit's box.

    ``norm`` stands before the IoU MLP and the box head, not in what is recycled: so r_{k-1} is of the size of the
    encoder's tokens, whatever that is for the pretrained weights (DINOv2's early tokens are some 20 times smaller
    than normalised ones, which would drown them). ``recycling`` is None at the first exit, which has nothing to recycle.
    """

    def __init__(self, width: int, heads: int, adapter_layers: int, recycling: FeatureRecycling | None):
        super().__init__()
        self.recycling = recycling
        self.adapter = nn.Sequential(*(Block(width, heads) for _ in range(adapter_layers)))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.projection = nn.Linear(width, width)
        self.iou_mlp = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        # The projection starts as the identity: a pretrained encoder's features reach the head as they are.
        nn.init.eye_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        # The score starts at 0.5 for every input, far from the sigmoid's flat ends.
        nn.init.zeros_(self.iou_mlp[-1].weight)
        nn.init.zeros_(self.iou_mlp[-1].bias)

    def forward(self, h_k: Tensor, r_previous: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encoder tokens h_k (B, N, C) to the decisioner's tokens r_k (B, N, C) and the predicted IoU s_k (B,)."""
        recycles = self.recycling is not None and r_previous is not None
        h_c = self.recycling.before(h_k, r_previous) if recycles else h_k
        r_k = self.projection(self.adapter(h_c))
        if recycles:
            r_k = self.recycling.after(r_k, r_previous)
        score = torch.sigmoid(self.iou_mlp(self.norm(r_k[:, 0])).float())[:, 0]
        return r_k, score
