"""Parts of the one-stream encoder: token embedding and transformer layers. Their weights have timm's names."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dytrack_ros.model.presets import DyTrackConfig

LAYER_NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, C)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return projected


class Mlp(nn.Module):
    """Two linear layers with GELU between them, (B, N, C) -> (B, N, C)."""

    def __init__(self, width: int, ratio: int = 4):
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return projected


class Block(nn.Module):
    """One pre-norm transformer layer, (B, N, C) -> (B, N, C)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = x + self.attn(self.norm1(x))
        return attended + cast(Tensor, self.mlp(self.norm2(attended)))


class PatchEmbed(nn.Module):
    """Patch projection: image (B, 3, H, W) to tokens (B, H/p * W/p, C)."""

    def __init__(self, width: int, patch_size: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, image: Tensor) -> Tensor:
        patches: Tensor = self.proj(image)
        return patches.flatten(2).transpose(1, 2)


class TokenEmbedding(nn.Module):
    """Template and search region to the tokens ``[IoU token, template, search]``, (B, N, C) (paper, Section III-A)."""

    def __init__(self, config: DyTrackConfig):
        super().__init__()
        self.patch_embed = PatchEmbed(config.width, config.patch_size)
        self.iou_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.template_position = nn.Parameter(torch.zeros(1, config.template_tokens, config.width))
        self.search_position = nn.Parameter(torch.zeros(1, config.search_tokens, config.width))
        for parameter in (self.iou_token, self.template_position, self.search_position):
            nn.init.trunc_normal_(parameter, std=0.02)

    def embed_template(self, template: Tensor) -> Tensor:
        """Return the tokens (B, Nz, C) of a normalised template (B, 3, Tz, Tz)."""
        return cast(Tensor, self.patch_embed(template)) + self.template_position

    def embed_search(self, search: Tensor) -> Tensor:
        """Return the tokens (B, Nx, C) of a normalised search region (B, 3, Tx, Tx)."""
        return cast(Tensor, self.patch_embed(search)) + self.search_position

    def join(self, template_tokens: Tensor, search_tokens: Tensor) -> Tensor:
        """Return the IoU token, the template's and the search region's, (B, N, C)."""
        iou_token = self.iou_token.expand(search_tokens.shape[0], -1, -1)
        return torch.cat([iou_token, template_tokens, search_tokens], dim=1)

    def forward(self, template: Tensor, search: Tensor) -> Tensor:
        return self.join(self.embed_template(template), self.embed_search(search))
