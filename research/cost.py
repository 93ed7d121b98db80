"""How much a training pair computes, for estimates of a run's length."""

from __future__ import annotations

from dataclasses import replace

from dytrack_ros.model.arithmetic import Arithmetic
from dytrack_ros.model.presets import DyTrackConfig


def training_flops(config: DyTrackConfig, stage: int) -> int:
    """Floating-point operations of one pair, forward and backward: six for each multiply-accumulate of the template and of
    all exits that the ``stage`` trains.

    Within 1 % of what PyTorch counts for the presets: it leaves out the 1x1 branches of the heads and the distillation,
    and counts a gradient of the pixels, which nobody needs. Augmentation and optimizer come on top.
    """
    if stage == 1:
        config = replace(config, exits=config.exits[-1:], adapters=config.adapters[-1:], recycling="none")
    counted = Arithmetic.of(config)
    return 6 * (counted.template + sum(counted.stages) + len(counted.stages) * counted.head)
