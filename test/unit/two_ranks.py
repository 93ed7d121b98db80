"""What each of two processes of ``test_distributed.py`` does: SHARD LASOT OUT, started by torch.distributed.run."""

import sys
from pathlib import Path

import torch
from random_network import MINIATURE, random_model

from dytrack_ros.cli import train as cli
from dytrack_ros.data.shards import ShardDataset
from dytrack_ros.model.presets import PRESETS
from dytrack_ros.training.augmentation import PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.distributed import Ranks, joined_ranks
from dytrack_ros.training.sampling import PairSampler
from dytrack_ros.training.trainer import TrainConfig, Trainer

BATCH, STEPS = 4, 3


def trainer_on(shard: Path, folder: Path, ranks: Ranks, fused: bool = False, seed: int = 0, **config) -> Trainer:
    """``fused`` heads have no batch norm, whose statistics on CPUs are those of a process's own part of the batch."""
    dataset = ShardDataset([shard])
    model = random_model(MINIATURE, seed)
    if fused:
        model.fuse()
    augmentation = PairAugmentation(ImageBank.load(dataset, progress=False), MINIATURE)
    config = TrainConfig(
        **{"steps": STEPS, "batch": BATCH, "warmup_steps": 1, "lr": 1e-3, "lr_backbone": 1e-3, **config}
    )
    return Trainer(model, PairSampler(dataset), augmentation, config, folder, ranks=ranks)


def weights_and_gradients(trainer: Trainer) -> dict[str, list[torch.Tensor | None]]:
    modules = {"model": trainer.model, "distillation": trainer.distillation}
    return {
        f"{part}.{name}": [parameter.detach().clone(), parameter.grad]
        for part, module in modules.items()
        for name, parameter in module.named_parameters()
    }


CASES = {
    "fused": {"fused": True},
    "norms": {"stage": 1},
    "one_by_one": {"strategy": "one_by_one"},
    "minutes": {"steps": 1_000_000, "minutes": 0.005},
}


def main(shard: Path, lasot: Path, out: Path) -> None:
    torch.set_num_threads(1)
    with joined_ranks("cpu") as ranks:
        for case, config in CASES.items():
            # Each starts elsewhere: the processes must agree on rank 0's weights.
            trainer = trainer_on(shard, out / case, ranks, seed=ranks.rank, **config)
            trainer.run(log_every=1)
            torch.save((trainer.step, weights_and_gradients(trainer)), out / f"{case}_{ranks.rank}.pt")
        broken = trainer_on(shard, out / "broken", ranks, fused=True, steps=2)
        broken.run()
        torch.distributed.barrier()
        resumed = trainer_on(shard, out / "broken", ranks, fused=True, seed=7 + ranks.rank)
        assert resumed.resume() and resumed.step == 2
        resumed.run()
        torch.save((resumed.step, weights_and_gradients(resumed)), out / f"resumed_{ranks.rank}.pt")
        PRESETS["dytrack_tiny"] = MINIATURE
        common = f"--data lasot:{lasot} --out {out / 'command'} --model dytrack_tiny --device cpu --batch 4 --steps 2"
        options = cli.parser().parse_args([*common.split(), "--reader-threads", "1"])
        assert cli.train(options, ranks, "train") == 0
        options.batch = 3
        assert cli.train(options, ranks, "train") == 2


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
