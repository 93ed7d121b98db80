#!/usr/bin/env python3
"""Measure what each addition to the paper's training gives on sequences, with equal training from the same start.

    research/levers.py --data SHARDS --sequences DEV_SEQUENCES     # a table, and research/results/levers.json

Weights are trained on for ``--steps``, once for each addition and seed, and once without any. The result is success AUC
at every exit, with and without init correction. Finished runs are stored in ``--work`` and not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.data.sequences import Sequence, load_sequences
from dytrack_ros.data.shards import ShardDataset, expand_shards
from dytrack_ros.evaluation.run import mean_over_sequences, run_sequence
from dytrack_ros.model import load_weights, save_weights
from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker, TrackerConfig
from dytrack_ros.training.augmentation import AugmentationConfig, PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.cutouts import Cutouts
from dytrack_ros.training.sampling import PairSampler
from dytrack_ros.training.trainer import TrainConfig, Trainer, amp_type

sys.path.insert(0, str(Path(__file__).resolve().parent))  # tools/ros_env sets PYTHONSAFEPATH

from ablations import spread

RESULTS = Path(__file__).parent / "results" / "levers.json"
SHARES = (0.0, TrackerConfig.init_correction)
NOT_MADE_WITH = ("seeds", "threads", "work", "results")


@dataclass(frozen=True)
class Lever:
    """One row of the table: its changes to the recipe of the shipped weights."""

    name: str
    changes: dict
    background_mask: float = 0.0


SYNTHETIC, PARTS, BACKGROUND_MASK = {"synthetic": 0.6, "distractors": 2}, {"parts": 0.35}, 0.4
LEVERS = (
    Lever("none", {}),
    Lever("synthetic video, two shaped distractors", SYNTHETIC),
    Lever("parts", PARTS),
    Lever("background_mask", {}, BACKGROUND_MASK),
    Lever("parts and background_mask", PARTS, BACKGROUND_MASK),
    Lever("all", SYNTHETIC | PARTS, BACKGROUND_MASK),
)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", nargs="+", required=True, help="training shards")
    p.add_argument("--sequences", required=True, help="folder of development sequences")
    p.add_argument("--frames", type=int, help="only this many first frames of each")
    p.add_argument("--model", default="dytrack_tiny", help="weights to start from")
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--seeds", type=int, nargs="+", default=[11])
    p.add_argument("--engine", default="auto")
    p.add_argument("--threads", type=int)
    p.add_argument("--work", type=Path, default=Path("runs/levers"))
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


class Laboratory:
    """Data, budget and sequences of all runs."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.amp = args, amp_type("auto", "cpu")
        self.made_with = {name: str(value) for name, value in vars(args).items() if name not in NOT_MADE_WITH}
        self.dataset = ShardDataset(expand_shards(args.data))
        self.bank = ImageBank.load(self.dataset)
        self.cutouts = self._cutouts()
        self.sequences: list[Sequence] = [sequence.head(args.frames) for sequence in load_sequences(args.sequences)]

    def _cutouts(self) -> Cutouts:
        kept = self.args.work / "cutouts.npz"
        if kept.exists():
            return Cutouts.load(kept, self.dataset)
        made = Cutouts.made(self.dataset, self.args.threads or os.cpu_count())
        made.save(kept, self.dataset)
        return made

    def run(self, lever: Lever, seed: int) -> dict[str, list[float]]:
        """Success AUC at each exit, for each of SHARES, or what was kept of it."""
        folder = self.args.work / f"{lever.name.replace(' ', '_')}-{seed}"
        kept = folder / "auc.json"
        if kept.exists() and (earlier := json.loads(kept.read_text()))["made_with"] == self.made_with:
            return earlier["auc"]
        found = self._measured(self._trained(lever, seed, folder))
        kept.write_text(json.dumps({"made_with": self.made_with, "auc": found}))
        return found

    def _trained(self, lever: Lever, seed: int, folder: Path) -> Path:
        model = load_weights(self.args.model)
        model.config = replace(model.config, background_mask=lever.background_mask)
        config = TrainConfig(
            steps=self.args.steps,
            batch=self.args.batch,
            seed=seed,
            distillation="off",
            schedule="cosine",
            warmup_steps=20,
            lr=1e-4,
            lr_adapters=4e-5,
            lr_backbone=4e-5,
            relative_rates=True,
            corner_weight=0.5,
            save_minutes=1e9,
        )
        choices = AugmentationConfig(absent=0.1, **lever.changes)
        augmentation = PairAugmentation(
            self.bank, model.config, choices, seed, self.cutouts if choices.synthetic else None
        )
        Trainer(model, PairSampler(self.dataset, seed), augmentation, config, folder, self.amp).run()
        (folder / "last.pt").unlink()
        return save_weights(folder / "weights.safetensors", model)

    def _measured(self, weights: Path) -> dict[str, list[float]]:
        tracker = DyTracker.from_pretrained(weights, engine=self.args.engine, threads=self.args.threads)
        found = {}
        for share in SHARES:
            tracker.set_config(TrackerConfig(init_correction=share))
            found[str(share)] = [self._auc(tracker, FixedExit(k)) for k in range(1, tracker.exit_count + 1)]
        return found

    def _auc(self, tracker: DyTracker, policy: FixedExit) -> float:
        tracker.set_policy(policy)
        runs = [run_sequence(tracker, sequence) for sequence in self.sequences]
        return mean_over_sequences([run.summary() for run in runs])["success_auc"]


def table(rows: list[dict]) -> Iterator[str]:
    """Markdown: success AUC at each exit, as it is and corrected; means and standard deviations over the seeds."""
    exits = range(len(rows[0]["runs"][0][str(SHARES[0])]))
    names = [f"exit {k + 1}{'' if share == 0 else ', corrected'}" for share in SHARES for k in exits]
    yield "| trained on with | " + " | ".join(names) + " |"
    yield "|---" * (1 + len(names)) + "|"
    for row in rows:
        cells = [spread([run[str(share)][k] for run in row["runs"]]) for share in SHARES for k in exits]
        yield f"| {row['lever']} | " + " | ".join(cells) + " |"


def main() -> None:
    args = parser().parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    laboratory = Laboratory(args)
    # Seed by seed, so that a run that is cut short still compares all levers.
    plan = [(lever, seed) for seed in args.seeds for lever in LEVERS]
    found = {(lever.name, seed): laboratory.run(lever, seed) for lever, seed in tqdm(plan, desc="runs")}
    rows = [{"lever": lever.name, "runs": [found[lever.name, seed] for seed in args.seeds]} for lever in LEVERS]
    left_out = ("data", "sequences", "work", "results", "threads")
    kept = {name: value for name, value in vars(args).items() if name not in left_out}
    args.results.write_text(json.dumps(kept | {"rows": rows, "machine": machine_facts()}, indent=2) + "\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
