"""DyTrack: a one-stream encoder cut into stages, each with a decisioner and a box head of its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dytrack_ros.model.corner_head import CornerHead, RepVGGBlock
from dytrack_ros.model.decisioner import Decisioner, FeatureRecycling
from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.model.vit import Block, TokenEmbedding

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ExitOutput(NamedTuple):
    """One exit's answer: ``box`` (B, 4) as (x1, y1, x2, y2) in [0, 1] of the search region, predicted IoU ``score``
    (B,), the search tokens ``features`` (B, Nx, C) that its head saw, the head's ``log_heat_maps`` (B, 2, H, W), and the
    encoder's ``tokens`` h_k (B, N, C)."""

    box: Tensor
    score: Tensor
    features: Tensor
    log_heat_maps: Tensor
    tokens: Tensor


def normalize(image: Tensor) -> Tensor:
    """RGB in [0, 255], (B, 3, H, W), to ImageNet's zero mean and unit deviation."""
    mean, std = _imagenet(image.device)
    return (image - mean) / std


@functools.cache
def _imagenet(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation in [0, 255]; kept, since each copy to a GPU would wait for all its work."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


class DyTrack(nn.Module):
    """The network, runnable in one piece (:meth:`forward`) or stage by stage (:meth:`stage`, :meth:`decide`,
    :meth:`locate`). Exits are counted from 0 here, as list positions."""

    def __init__(self, config: DyTrackConfig):
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(config)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.decisioners = nn.ModuleList(
            Decisioner(
                config.width,
                config.heads,
                layers,
                FeatureRecycling(config.recycling, config.width) if position and config.recycling != "none" else None,
            )
            for position, layers in enumerate(config.adapters)
        )
        self.heads = nn.ModuleList(CornerHead(config.width, config.head_channels) for _ in config.exits)
        for block in [*self.blocks, *(layer for d in self.decisioners for layer in d.adapter)]:
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)

    @property
    def exit_count(self) -> int:
        return len(self.config.exits)

    def stage_blocks(self, position: int) -> nn.ModuleList:
        """The encoder layers between the previous exit and this one."""
        start = self.config.exits[position - 1] if position else 0
        return self.blocks[start : self.config.exits[position]]

    def stage(self, position: int, tokens: Tensor) -> Tensor:
        """h_{k-1} to h_k, (B, N, C): the encoder goes on from its own tokens, never from a decisioner's."""
        for block in self.stage_blocks(position):
            tokens = block(tokens)
        return tokens

    def decide(self, position: int, h_k: Tensor, r_previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """The decisioner of an exit: tokens r_k (B, N, C) and predicted IoU s_k (B,)."""
        return self.decisioners[position](h_k, r_previous)

    def search_features(self, position: int, r_k: Tensor) -> Tensor:
        """What the box head of an exit sees: the normalised search part (B, Nx, C) of its decisioner's tokens."""
        return self.decisioners[position].norm(r_k[:, -self.config.search_tokens :])

    def log_heat_maps(self, position: int, features: Tensor) -> Tensor:
        """An exit's corner heat maps (B, 2, H, W) of its search features, as logarithms."""
        grid = self.config.search_grid
        feature_map = features.transpose(1, 2).reshape(len(features), -1, grid, grid)
        return self.heads[position].log_heat_maps(feature_map)

    def locate(self, position: int, r_k: Tensor) -> Tensor:
        """The box head of an exit: (B, 4) as (x1, y1, x2, y2) in [0, 1] of the search region."""
        return CornerHead.box(self.log_heat_maps(position, self.search_features(position, r_k)))

    def forward(self, template: Tensor, search: Tensor, exits: Sequence[int] | None = None) -> list[ExitOutput]:
        """Normalised crops (B, 3, Tz, Tz) and (B, 3, Tx, Tx) to the answers of ``exits`` (positions; all by default).

        Decisioners of exits that are not asked for do not run, so nothing is recycled from them: ``exits=[K - 1]`` is
        the plain tracker of the first training stage.
        """
        wanted = range(self.exit_count) if exits is None else sorted(exits)
        tokens = self.embedding(template, search)
        outputs, r_previous = [], None
        for position in range(wanted[-1] + 1):
            tokens = self.stage(position, tokens)
            if position not in wanted:
                continue
            r_previous, score = self.decide(position, tokens, r_previous)
            features = self.search_features(position, r_previous)
            heat = self.log_heat_maps(position, features)
            outputs.append(ExitOutput(CornerHead.box(heat), score, features, heat, tokens))
        return outputs

    def fuse(self) -> DyTrack:
        """Folds every RepVGG block for inference; returns the network itself."""
        for module in self.modules():
            if isinstance(module, RepVGGBlock):
                module.fuse()
        return self
