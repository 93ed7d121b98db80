"""DyTrack: a one-stream encoder in stages, each with a decisioner and a box head of its own (paper, Section III)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from dytrack_ros.model.corner_head import CornerHead, RepVGGBlock
from dytrack_ros.model.decisioner import Decisioner, FeatureRecycling
from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.model.vit import Block, TokenEmbedding

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ExitOutput(NamedTuple):
    """One exit's answer.

    Attributes:
        box: (B, 4), (x1, y1, x2, y2) in [0, 1] of the search region.
        score: predicted IoU (B,) in [0, 1].
        features: search tokens (B, Nx, C), the input of the box head.
        log_heat_maps: the box head's log-probabilities (B, 2, H, W), top-left corner first.
        tokens: the encoder's tokens h_k (B, N, C).
    """

    box: Tensor
    score: Tensor
    features: Tensor
    log_heat_maps: Tensor
    tokens: Tensor


def normalize(image: Tensor) -> Tensor:
    """Normalise RGB in [0, 255], (B, 3, H, W), by ImageNet's mean and standard deviation."""
    mean, std = _imagenet(image.device)
    return (image - mean) / std


@functools.cache
def _imagenet(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation in [0, 255], cached: each copy to a GPU would wait for all its work."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


class DyTrack(nn.Module):
    """The network, run in one pass (:meth:`forward`) or by stages (:meth:`stage`, :meth:`decide`, :meth:`locate`).

    An exit's ``position`` counts from 0.
    """

    def __init__(self, config: DyTrackConfig):
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(config)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        decisioners = [
            Decisioner(
                config.width,
                config.heads,
                layers,
                FeatureRecycling(config.recycling, config.width) if position and config.recycling != "none" else None,
            )
            for position, layers in enumerate(config.adapters)
        ]
        self.decisioners = nn.ModuleList(decisioners)
        self.heads = nn.ModuleList(CornerHead(config.width, config.head_channels) for _ in config.exits)
        for block in [*self.blocks, *(layer for decisioner in decisioners for layer in decisioner.adapter)]:
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)

    @property
    def exit_count(self) -> int:
        """Number K of exits."""
        return len(self.config.exits)

    def stage_blocks(self, position: int) -> nn.ModuleList:
        """Return the encoder layers between the previous exit and this one."""
        start = self.config.exits[position - 1] if position else 0
        return self.blocks[start : self.config.exits[position]]

    def stage(self, position: int, tokens: Tensor) -> Tensor:
        """Run an exit's encoder layers: h_{k-1} (B, N, C) to h_k (B, N, C), both the encoder's own tokens."""
        for block in self.stage_blocks(position):
            tokens = block(tokens)
        return tokens

    def decide(self, position: int, h_k: Tensor, r_previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run the decisioner of an exit; return its tokens r_k (B, N, C) and the predicted IoU s_k (B,)."""
        r_k, score = self.decisioners[position](h_k, r_previous)
        return r_k, score

    def search_features(self, position: int, r_k: Tensor) -> Tensor:
        """Return the input of an exit's box head: the normalised search tokens (B, Nx, C) of its decisioner."""
        features: Tensor = cast(Decisioner, self.decisioners[position]).norm(r_k[:, -self.config.search_tokens :])
        return features

    def log_heat_maps(self, position: int, features: Tensor) -> Tensor:
        """Return the log-probabilities (B, 2, H, W) of an exit's box head for its search features (B, Nx, C)."""
        grid = self.config.search_grid
        feature_map = features.transpose(1, 2).reshape(len(features), -1, grid, grid)
        return cast(CornerHead, self.heads[position]).log_heat_maps(feature_map)

    def locate(self, position: int, r_k: Tensor) -> Tensor:
        """Run the box head of an exit: r_k (B, N, C) to (B, 4), (x1, y1, x2, y2) in [0, 1] of the search region."""
        return CornerHead.box(self.log_heat_maps(position, self.search_features(position, r_k)))

    def forward(self, template: Tensor, search: Tensor, exits: Sequence[int] | None = None) -> list[ExitOutput]:
        """Run the whole network.

        Args:
            template: normalised template (B, 3, Tz, Tz).
            search: normalised search region (B, 3, Tx, Tx).
            exits: positions of the exits to run; None: all. The decisioners of other exits do not run, and nothing is
                recycled from them: ``[K - 1]`` is the plain tracker of the first training stage.

        Returns:
            The answer of each of ``exits``, the first first.
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
        """Fuse every RepVGG block for inference; return the network itself."""
        for module in self.modules():
            if isinstance(module, RepVGGBlock):
                module.fuse()
        return self
