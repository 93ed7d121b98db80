#!/usr/bin/env python3
"""Measure cheaper forward passes of trained weights, without training for them.

    research/structure.py --data SHARDS              # a table, and research/results/structure.json

* ``asymmetric``: the template's tokens attend to themselves alone, as they would if their keys and values were computed
  once a target (MixFormer's asymmetric attention).
* ``pruned N``: after the first exit only the N search tokens nearest to its box go on (OSTrack's candidate elimination,
but
  by the box); heads see zeros elsewhere and put no corner there.
* ``region S``: a search region of S px at the same scale, its positions resampled.

IoU is that of the boxes on training pairs at every exit, present targets only. Operations are those of one frame at the
last exit, relative to the whole network's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.data.shards import ShardDataset, expand_shards
from dytrack_ros.model import DyTrack, load_weights
from dytrack_ros.model.corner_head import CornerHead
from dytrack_ros.model.dytrack import normalize
from dytrack_ros.model.vit import Attention
from dytrack_ros.model.weights import with_search_region
from dytrack_ros.training.augmentation import CropBatch, PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.losses import box_iou
from dytrack_ros.training.sampling import PairSampler

RESULTS = Path(__file__).parent / "results" / "structure.json"
BATCH = 16
SEED = 77
Boxes = list[Tensor]


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", nargs="+", required=True, help="training shards")
    p.add_argument("--model", default="dytrack_small")
    p.add_argument("--pairs", type=int, default=192)
    p.add_argument("--pruned", type=int, nargs="*", default=[196, 144, 100], help="search tokens that go on, of 256")
    p.add_argument("--regions", type=int, nargs="*", default=[224, 192], help="sides of the search region, px")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


def whole(model: DyTrack, template: Tensor, search: Tensor) -> Boxes:
    return [output.box for output in model(template, search)]


@contextmanager
def template_alone(template_tokens: int) -> Iterator[None]:
    """Lets the template's tokens attend to themselves alone."""
    symmetric = Attention.forward

    def forward(self: Attention, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        own = slice(1, 1 + template_tokens)
        mixed[:, :, own] = F.scaled_dot_product_attention(query[:, :, own], key[:, :, own], value[:, :, own])
        return self.proj(mixed.transpose(1, 2).flatten(2))

    Attention.forward = forward
    try:
        yield
    finally:
        Attention.forward = symmetric


def asymmetric(model: DyTrack, template: Tensor, search: Tensor) -> Boxes:
    with template_alone(model.config.template_tokens):
        return whole(model, template, search)


def pruned(model: DyTrack, template: Tensor, search: Tensor, kept: int) -> Boxes:
    count, grid = model.config.search_tokens, model.config.search_grid
    first = 1 + model.config.template_tokens
    tokens = model.stage(0, model.embedding(template, search))
    recycled, _ = model.decide(0, tokens, None)
    boxes = [model.locate(0, recycled)]
    place = nearest_tokens(boxes[0], grid, kept)
    index = place[..., None].expand(-1, -1, model.config.width)
    tokens, recycled = (torch.cat([t[:, :first], t[:, first:].gather(1, index)], 1) for t in (tokens, recycled))
    goes_on = torch.zeros(len(tokens), count, dtype=torch.bool).scatter_(1, place, True)[:, None]
    for position in range(1, model.exit_count):
        tokens = model.stage(position, tokens)
        recycled, _ = model.decide(position, tokens, recycled)
        spread = torch.zeros(len(tokens), count, model.config.width).scatter_(1, index, recycled[:, first:])
        heat = model.log_heat_maps(position, model.search_features(position, spread)).flatten(2)
        heat = heat.masked_fill(~goes_on, -1e4).log_softmax(2)
        boxes.append(CornerHead.box(heat.unflatten(2, (grid, grid))))
    return boxes


def nearest_tokens(box: Tensor, grid: int, kept: int) -> Tensor:
    """Numbers (B, kept) of the cells least far outside of the boxes (B, 4)."""
    centres = (torch.arange(grid) + 0.5) / grid
    across, down = (torch.maximum(box[:, axis, None] - centres, centres - box[:, axis + 2, None]) for axis in (0, 1))
    outside = torch.maximum(across[:, None, :], down[:, :, None]).flatten(1)
    return outside.topk(kept, largest=False).indices.sort(1).values


def layer_share(model: DyTrack, search_tokens: int, template_tokens: int, attended: int) -> float:
    """Multiply-accumulates of a transformer layer with so many tokens, relative to the whole layer's."""

    def layer(tokens: int, keys: int) -> int:
        return 12 * tokens * model.config.width**2 + 2 * tokens * keys * model.config.width

    return layer(1 + template_tokens + search_tokens, attended) / layer(model.config.tokens, model.config.tokens)


def ways(model: DyTrack, args: argparse.Namespace) -> Iterator[tuple[str, float, Callable[..., Boxes], DyTrack]]:
    """Name, operations of the layers up to the last exit, relative to all, the way itself, and the network for it."""
    c = model.config
    yield "whole", 1.0, whole, model
    yield "asymmetric", layer_share(model, c.search_tokens, 0, c.tokens), asymmetric, model
    before = (c.exits[0] + c.adapters[0]) / (c.depth + sum(c.adapters))
    for kept in args.pruned:
        short = layer_share(model, kept, c.template_tokens, 1 + c.template_tokens + kept)
        yield f"pruned {kept}", before + (1 - before) * short, partial(pruned, kept=kept), model
    for size in args.regions:
        narrow = (
            with_search_region(load_weights(args.model), size, c.search_factor * size / c.search_size).eval().fuse()
        )
        n = narrow.config
        yield f"region {size}", layer_share(model, n.search_tokens, n.template_tokens, n.tokens), whole, narrow


@torch.inference_mode()
def mean_iou(way: Callable[..., Boxes], model: DyTrack, batches: list[CropBatch]) -> list[float]:
    ious: list[list[Tensor]] = [[] for _ in range(model.exit_count)]
    for crops in batches:
        boxes = way(model, normalize(crops.template), normalize(crops.search))
        for position, box in enumerate(boxes):
            ious[position].append(box_iou(box, crops.box)[crops.present])
    return [round(float(torch.cat(values).mean()), 4) for values in ious]


def main() -> None:
    args = parser().parse_args()
    dataset = ShardDataset(expand_shards(args.data))
    bank, sampler = ImageBank.load(dataset), PairSampler(dataset, SEED)
    model = load_weights(args.model).fuse()
    rows = []
    print("| | layers' operations | IoU at each exit |\n|---|---|---|")
    for name, operations, way, network in ways(model, args):
        augmentation = PairAugmentation(bank, network.config, seed=SEED)
        steps = tqdm(range(-(-args.pairs // BATCH)), desc=name, leave=False)
        batches = [augmentation(sampler.batch(step, BATCH), step) for step in steps]
        row = {"way": name, "operations": round(operations, 3), "iou": mean_iou(way, network, batches)}
        rows.append(row)
        print(f"| {name} | {operations:.0%} | {', '.join(f'{iou:.3f}' for iou in row['iou'])} |", flush=True)
    facts = {"model": args.model, "pairs": args.pairs, "rows": rows, "machine": machine_facts()}
    args.results.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
