#!/usr/bin/env python3
"""Compare the choices of the paper's Table III, with equal training from the same start.

    research/ablations.py --data SHARDS              # a table, and research/results/ablations.json

Recycling schemas, self-distillation and training strategies, one changed at a time from the paper's choice (schema b,
target-aware, joint). All runs start from one network that has had a first stage (the encoder of ``--model`` and the
last exit, which recycles nothing), at half the resolution, which makes a pair four times as cheap: every exit gets the
last one's head and norm, adapters are the encoder layers that follow the exit, scores know nothing. Then a second stage
of ``--steps``, on the same pairs for all of one seed.

Results are on pairs from scenes that no run of this script has trained on. Finished runs are stored in ``--work`` and
not repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.data.shards import ShardDataset, expand_shards
from dytrack_ros.model import DyTrack, load_weights
from dytrack_ros.model.weights import with_search_region
from dytrack_ros.training.augmentation import PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.sampling import PairSampler
from dytrack_ros.training.trainer import TrainConfig, Trainer, amp_type

sys.path.insert(0, str(Path(__file__).resolve().parent))  # tools/ros_env sets PYTHONSAFEPATH

from held_out import Accuracy, accuracy, held_out_crops, split_scenes

RESULTS = Path(__file__).parent / "results" / "ablations.json"
KEPT_ASIDE_EVERY = 10
STAGE_1_SEED = 1


@dataclass(frozen=True)
class Choice:
    """One row of the table; by default the paper's choice."""

    recycling: str = "b"
    distillation: str = "target_aware"
    strategy: str = "joint"

    @property
    def name(self) -> str:
        return f"{self.recycling}-{self.distillation}-{self.strategy}"


CHOICES = (
    Choice(),
    *(Choice(recycling=schema) for schema in ("none", "a", "c", "d")),
    *(Choice(distillation=mode) for mode in ("off", "plain")),
    *(Choice(strategy=strategy) for strategy in ("frozen_backbone", "one_by_one")),
)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", nargs="+", required=True, help="training shards")
    p.add_argument("--model", default="dytrack_tiny", help="weights whose encoder the first stage starts from")
    p.add_argument("--first-steps", type=int, default=200)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    p.add_argument("--pairs", type=int, default=384, help="pairs that the figures are of")
    p.add_argument("--threads", type=int)
    p.add_argument("--work", type=Path, default=Path("runs/ablations"))
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


def at_half_resolution(model: DyTrack) -> DyTrack:
    """The same network for crops of half as many pixels a side."""
    config = model.config
    return with_search_region(model, config.search_size // 2, config.search_factor, config.template_size // 2)


class Laboratory:
    """Data, budget and the common start of all runs."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.amp = args, amp_type("auto", "cpu")
        dataset = ShardDataset(expand_shards(args.data))
        self.bank = ImageBank.load(dataset)
        self.trained_on, kept_aside = split_scenes(dataset.images, KEPT_ASIDE_EVERY)
        self.encoder = at_half_resolution(load_weights(args.model))
        self.config = self.encoder.config
        self.crops = held_out_crops(PairSampler(kept_aside), PairAugmentation(self.bank, self.config), args.pairs)
        self.start = self._first_stage()

    def _train(self, model: DyTrack, config: TrainConfig, folder: Path) -> DyTrack:
        sampler = PairSampler(self.trained_on, config.seed)
        augmentation = PairAugmentation(self.bank, model.config, seed=config.seed)
        Trainer(model, sampler, augmentation, config, folder, self.amp).run()
        return model

    def _first_stage(self) -> DyTrack:
        """The encoder and the last exit, trained without any recycling."""
        kept = self.args.work / "first_stage.pt"
        model = DyTrack(replace(self.config, recycling="none"))
        if kept.exists():
            model.load_state_dict(torch.load(kept, weights_only=True))
            return model
        of_encoder = self.encoder.state_dict()
        model.load_state_dict({name: of_encoder[name] for name in model.state_dict()})
        config = TrainConfig(stage=1, steps=self.args.first_steps, seed=STAGE_1_SEED, **self._rates())
        self._train(model, config, kept.with_suffix(""))
        torch.save(model.state_dict(), kept)
        return model

    def _rates(self) -> dict:
        rates = {"lr": 3e-4, "lr_adapters": 1e-4, "lr_backbone": 4e-5, "relative_rates": True}
        return rates | {"batch": self.args.batch, "schedule": "cosine", "warmup_steps": 10, "corner_weight": 0.5}

    def _exits_unlearnt(self, recycling: str) -> DyTrack:
        """The first stage's network, with exits before the last that have learnt nothing."""
        model, start = DyTrack(replace(self.config, recycling=recycling)), self.start
        model.embedding.load_state_dict(start.embedding.state_dict())
        model.blocks.load_state_dict(start.blocks.state_dict())
        for exit_layer, decisioner, head in zip(self.config.exits, model.decisioners, model.heads, strict=True):
            head.load_state_dict(start.heads[-1].state_dict())
            for part in ("norm", "projection"):
                getattr(decisioner, part).load_state_dict(getattr(start.decisioners[-1], part).state_dict())
            for block, layer in zip(decisioner.adapter, start.blocks[exit_layer:], strict=False):
                block.load_state_dict(layer.state_dict())
        return model

    def run(self, choice: Choice, seed: int) -> Accuracy:
        """One second stage, or what was kept of it."""
        folder = self.args.work / f"{choice.name}-{seed}"
        kept = folder / "accuracy.json"
        if kept.exists():
            return Accuracy(**json.loads(kept.read_text()))
        torch.manual_seed(seed)
        model = self._exits_unlearnt(choice.recycling)
        options = {"distillation": choice.distillation, "strategy": choice.strategy}
        config = TrainConfig(steps=self.args.steps, seed=seed, save_minutes=1e9, **options, **self._rates())
        found = accuracy(self._train(model, config, folder), self.crops, self.amp)
        (folder / "last.pt").unlink()
        kept.write_text(json.dumps(asdict(found)))
        return found


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def table(rows: list[dict]) -> Iterator[str]:
    """Markdown: means and standard deviations over the seeds."""
    exits = len(rows[0]["runs"][0]["iou"])
    names = [f"IoU at exit {k + 1}" for k in range(exits)] + [f"error of s_{k + 1}" for k in range(exits)]
    yield "| recycling | distillation | strategy | " + " | ".join(names) + " |"
    yield "|---" * (3 + len(names)) + "|"
    for row in rows:
        cells = [spread([run[key][k] for run in row["runs"]]) for key in ("iou", "score_error") for k in range(exits)]
        yield f"| {row['recycling']} | {row['distillation']} | {row['strategy']} | " + " | ".join(cells) + " |"


def main() -> None:
    args = parser().parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    laboratory = Laboratory(args)
    # Seed by seed, so that a run that is cut short still compares all choices.
    plan = [(choice, seed) for seed in args.seeds for choice in CHOICES]
    found = {key: laboratory.run(*key) for key in tqdm(plan, desc="runs")}
    rows = [asdict(choice) | {"runs": [asdict(found[choice, seed]) for seed in args.seeds]} for choice in CHOICES]
    kept = {name: value for name, value in vars(args).items() if name not in ("data", "work", "results", "threads")}
    args.results.write_text(json.dumps(kept | {"rows": rows, "machine": machine_facts()}, indent=2) + "\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
