"""Multiply-accumulates of every stage and box head, exact, from the configuration."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from dytrack_ros.model.presets import DyTrackConfig


@dataclass(frozen=True)
class Arithmetic:
    """Multiply-accumulates of one frame's matrix products and convolutions, with fused RepVGG blocks.

    Norms, softmax and activations are not counted.

    Attributes:
        template: patch projection of the template, once a target.
        stages: each stage with its decisioner; the first also projects the search region's patches.
        head: a box head.
    """

    template: int
    stages: tuple[int, ...]
    head: int

    def answer(self, exit_index: int) -> int:
        """Return the sum for a frame that exits at ``exit_index`` (1-based)."""
        return sum(self.stages[:exit_index]) + self.head

    @classmethod
    def of(cls, config: DyTrackConfig) -> Arithmetic:
        """Count a network of this configuration."""
        starts = (0, *config.exits[:-1])
        stages = [
            (end - start) * _layer(config) + _decisioner(config, position)
            for position, (start, end) in enumerate(zip(starts, config.exits, strict=True))
        ]
        stages[0] += _patches(config, config.search_tokens)
        return cls(_patches(config, config.template_tokens), tuple(stages), _head(config))


def _patches(config: DyTrackConfig, tokens: int) -> int:
    return tokens * 3 * config.patch_size**2 * config.width


def _layer(config: DyTrackConfig) -> int:
    # A token: 4 C^2 for queries, keys, values and projection, 8 C^2 for the MLP. Attention: N^2 C for its weights, and
    # N^2 C for the weighted sum.
    return 12 * config.tokens * config.width**2 + 2 * config.tokens**2 * config.width


def _decisioner(config: DyTrackConfig, position: int) -> int:
    tokens, width = config.tokens, config.width
    projection = tokens * width**2
    iou_mlp = 2 * width**2 + width
    recycling = 2 * tokens * width**2 if position and config.recycling in ("c", "d") else 0
    return recycling + config.adapters[position] * _layer(config) + projection + iou_mlp


def _head(config: DyTrackConfig) -> int:
    channels = config.head_channels
    widths = (config.width, channels, channels // 2, channels // 4, channels // 8)
    blocks = sum(9 * a * b for a, b in itertools.pairwise(widths))
    return 2 * config.search_tokens * (blocks + widths[-1])
