#!/usr/bin/env python3
"""Measure boxes and scores of weights on training pairs with a present target.

    research/held_out.py --data SHARDS --models dytrack_small dytrack_tiny runs/T/dytrack_tiny.safetensors

Prints a table: IoU at each exit, the root mean square error of the predicted IoU, and the mean score without the
target. The pairs are the same for all weights, and other ones than any training run's; their images are those of
training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dytrack_ros.data.labels import ImageTable
from dytrack_ros.data.shards import ShardDataset, expand_shards
from dytrack_ros.model import DyTrack, load_weights
from dytrack_ros.model.dytrack import normalize
from dytrack_ros.training.augmentation import AugmentationConfig, CropBatch, PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.losses import box_iou
from dytrack_ros.training.sampling import PairSampler
from dytrack_ros.training.trainer import amp_type

BATCH = 32
SEED = 990_099


@dataclass(frozen=True)
class Images:
    """What a sampler needs of a data set."""

    images: ImageTable


@dataclass(frozen=True)
class Accuracy:
    """Means over pairs, a number an exit: ``iou`` of the boxes, ``score_error`` (root mean square of predicted minus
    real IoU), ``absent`` (the score where there is no target)."""

    iou: list[float]
    score_error: list[float]
    absent: list[float]


def split_scenes(table: ImageTable, every: int) -> tuple[Images, Images]:
    """All scenes (stills, whole videos) but each ``every``-th, and those; image numbers stay what they are."""
    videos = table.videos.astype(np.int64)
    scenes = np.where(videos >= 0, videos, len(table.video_names) + np.arange(len(table)))
    # Multiplied by an odd number, neighbours part: shards are ordered by source.
    kept_aside = (scenes * 2_654_435_761 % 2**32) % every == 0

    def only(images: np.ndarray) -> Images:
        counts = np.diff(table.box_starts)
        return Images(replace(table, boxes=np.where(np.repeat(images, counts)[:, None], table.boxes, 0)))

    return only(~kept_aside), only(kept_aside)


def held_out_crops(sampler: PairSampler, augmentation: PairAugmentation, pairs: int) -> list[CropBatch]:
    """Crops that are the same in every call."""
    return [augmentation(sampler.batch(SEED + n, BATCH), SEED + n) for n in range(-(-pairs // BATCH))]


@torch.inference_mode()
def accuracy(model: DyTrack, batches: Sequence[CropBatch], amp: torch.dtype | None) -> Accuracy:
    model.eval()
    errors: list[list[Tensor]] = [[] for _ in range(model.exit_count)]
    ious: list[list[Tensor]] = [[] for _ in range(model.exit_count)]
    absent: list[list[Tensor]] = [[] for _ in range(model.exit_count)]
    for crops in batches:
        with torch.autocast(crops.search.device.type, dtype=amp, enabled=amp is not None):
            outputs = model(normalize(crops.template), normalize(crops.search))
        for position, output in enumerate(outputs):
            iou, score = box_iou(output.box.float(), crops.box), output.score.float()
            ious[position].append(iou[crops.present])
            errors[position].append((score - iou)[crops.present].square())
            absent[position].append(score[~crops.present])

    def means(values: list[list[Tensor]]) -> list[float]:
        return [torch.cat(parts).mean().item() for parts in values]

    return Accuracy(means(ious), [value**0.5 for value in means(errors)], means(absent))


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", nargs="+", required=True, help="training shards")
    p.add_argument("--models", nargs="+", default=["dytrack_small", "dytrack_tiny"])
    p.add_argument("--pairs", type=int, default=384)
    p.add_argument("--absent", type=float, default=0.1, help="share of the pairs without the target")
    return p


def main() -> None:
    args = parser().parse_args()
    dataset = ShardDataset(expand_shards(args.data))
    bank, sampler = ImageBank.load(dataset), PairSampler(dataset, SEED)
    print("| weights | IoU | error of the score | score without the target |\n|---|---|---|---|")
    for name in args.models:
        model = load_weights(name)
        augmentation = PairAugmentation(bank, model.config, AugmentationConfig(absent=args.absent), SEED)
        found = accuracy(model, held_out_crops(sampler, augmentation, args.pairs), amp_type("auto", "cpu"))
        cells = (
            ", ".join(f"{value:.3f}" for value in values) for values in (found.iou, found.score_error, found.absent)
        )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
