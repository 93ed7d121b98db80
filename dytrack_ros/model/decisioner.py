"""The decisioner of an exit (paper, Section III-B): predicts the IoU of the exit's box."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dytrack_ros.model.vit import LAYER_NORM_EPS, Block


class FeatureRecycling(nn.Module):
    """Feature recycling (paper, Section III-C, Table III): adds the previous decisioner's output r_{k-1} to this one.

    - ``none``: h_c = h_k.
    - ``a``: h_c = h_k, and r_{k-1} is added to the output r_k.
    - ``b``: h_c = h_k + r_{k-1}, the paper's choice.
    - ``c``: h_c = W [h_k, r_{k-1}], token by token. (As further tokens r_{k-1} would have no effect at the last exit,
      whose adapter has no layer.)
    - ``d``: h_c = h_k + g * r_{k-1} with the gate g = sigmoid(W [h_k, r_{k-1}]).
    """

    def __init__(self, schema: str, width: int):
        super().__init__()
        self.schema = schema
        self.mix = nn.Linear(2 * width, width) if schema in ("c", "d") else None
        if self.mix is not None and schema == "c":
            # Start as schema (b), which keeps a pretrained encoder's features.
            with torch.no_grad():
                self.mix.weight.copy_(torch.cat([torch.eye(width), torch.eye(width)], dim=1))
                self.mix.bias.zero_()

    def before(self, h_k: Tensor, r_previous: Tensor) -> Tensor:
        """Return the decisioner's input h_c, (B, N, C)."""
        if self.mix is None:
            return h_k + r_previous if self.schema == "b" else h_k
        mixed: Tensor = self.mix(torch.cat([h_k, r_previous], dim=-1))
        return mixed if self.schema == "c" else h_k + torch.sigmoid(mixed) * r_previous

    def after(self, r_k: Tensor, r_previous: Tensor) -> Tensor:
        """Return the decisioner's output, (B, N, C), to which schema (a) adds r_{k-1}."""
        return r_k + r_previous if self.schema == "a" else r_k


class Decisioner(nn.Module):
    """Decisioner: recycling, an adapter of transformer layers, a linear projection, and an MLP on the IoU token.

    ``norm`` is applied before the IoU MLP and the box head, but not to the recycled tokens: r_{k-1} then has the
    magnitude of the encoder's tokens. (DINOv2's early tokens are some 20 times smaller than normalised ones.)
    ``recycling`` is None at the first exit.
    """

    def __init__(self, width: int, heads: int, adapter_layers: int, recycling: FeatureRecycling | None):
        super().__init__()
        self.recycling = recycling
        self.adapter = nn.Sequential(*(Block(width, heads) for _ in range(adapter_layers)))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.projection = nn.Linear(width, width)
        hidden = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        score_layer = nn.Linear(width, 1)
        self.iou_mlp = nn.Sequential(*hidden, score_layer)
        # The projection starts as the identity, which keeps a pretrained encoder's features.
        nn.init.eye_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        # The score starts at 0.5 for every input, where the sigmoid's gradient is largest.
        nn.init.zeros_(score_layer.weight)
        nn.init.zeros_(score_layer.bias)

    def forward(self, h_k: Tensor, r_previous: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encoder tokens h_k (B, N, C) to the decisioner's tokens r_k (B, N, C) and predicted IoU s_k (B,)."""
        if self.recycling is None or r_previous is None:
            r_k = self.projection(self.adapter(h_k))
        else:
            r_k = self.projection(self.adapter(self.recycling.before(h_k, r_previous)))
            r_k = self.recycling.after(r_k, r_previous)
        score = torch.sigmoid(self.iou_mlp(self.norm(r_k[:, 0])).float())[:, 0]
        return r_k, score
