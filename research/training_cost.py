#!/usr/bin/env python3
"""Estimate the operations of the paper's two training stages, and GPU-hours at a given peak and utilisation.

research/training_cost.py --peak-tflops 312 --utilisation 0.3
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from dytrack_ros.model.arithmetic import Arithmetic
from dytrack_ros.model.presets import PRESETS, DyTrackConfig
from dytrack_ros.training.trainer import PAIRS_PER_EPOCH


def training_flops(config: DyTrackConfig, stage: int) -> int:
    """Return the operations of one pair, forward and backward: six for each multiply-accumulate of the template and
    exits.

    The result is within 1 % of PyTorch's count for the presets. It leaves out the 1x1 branches of the heads, the
    distillation, augmentation and optimizer.
    """
    if stage == 1:
        config = replace(config, exits=config.exits[-1:], adapters=config.adapters[-1:], recycling="none")
    counted = Arithmetic.of(config)
    return 6 * (counted.template + sum(counted.stages) + len(counted.stages) * counted.head)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--epochs", type=float, default=300, help="of 60,000 pairs, for each stage")
    p.add_argument("--peak-tflops", type=float, default=312, help="of one GPU in bf16, without sparsity (an A100: 312)")
    p.add_argument("--utilisation", type=float, default=0.3, help="share of the peak that a run reaches")
    args = p.parse_args()
    pairs = args.epochs * PAIRS_PER_EPOCH
    speed = args.peak_tflops * 1e12 * args.utilisation
    print(f"{'model':<14} {'stage':>5} {'GFLOP a pair':>13} {'EFLOP':>7} {'pairs a second':>15} {'GPU-hours':>10}")
    for name, config in PRESETS.items():
        for stage in (1, 2):
            flops = training_flops(config, stage)
            hours = pairs * flops / speed / 3600
            print(
                f"{name:<14} {stage:>5} {flops / 1e9:>13.1f} {pairs * flops / 1e18:>7.2f} {speed / flops:>15.0f} "
                f"{hours:>10.1f}"
            )


if __name__ == "__main__":
    main()
