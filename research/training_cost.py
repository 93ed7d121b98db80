#!/usr/bin/env python3
"""What the paper's two stages compute, and GPU-hours at a peak and a utilisation that you give: an estimate, no measurement.

benchmarks/training_cost.py --peak-tflops 312 --utilisation 0.3
"""

import argparse

from cost import training_flops

from dytrack_ros.model.presets import PRESETS
from dytrack_ros.training.trainer import PAIRS_PER_EPOCH

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=float, default=300, help="of 60,000 pairs, for each stage")
parser.add_argument(
    "--peak-tflops", type=float, default=312, help="of one GPU in bf16, without sparsity (an A100: 312)"
)
parser.add_argument("--utilisation", type=float, default=0.3, help="the share of the peak that a run reaches")
args = parser.parse_args()

pairs = args.epochs * PAIRS_PER_EPOCH
speed = args.peak_tflops * 1e12 * args.utilisation
print(f"{'model':<14} {'stage':>5} {'GFLOP a pair':>13} {'EFLOP':>7} {'pairs a second':>15} {'GPU-hours':>10}")
for name, config in PRESETS.items():
    for stage in (1, 2):
        flops = training_flops(config, stage)
        hours = pairs * flops / speed / 3600
        print(
            f"{name:<14} {stage:>5} {flops / 1e9:>13.1f} {pairs * flops / 1e18:>7.2f} {speed / flops:>15.0f} {hours:>10.1f}"
        )
