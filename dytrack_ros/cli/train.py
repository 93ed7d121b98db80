"""The command ``train``."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from dytrack_ros.data.datasets import Dataset, ImageBank
from dytrack_ros.data.labels import ImageTable
from dytrack_ros.data.sources import DATA_HELP, left_out, names_reader, open_data, summary
from dytrack_ros.model.dytrack import DyTrack, normalize
from dytrack_ros.model.presets import PRESETS, RECYCLING_SCHEMAS, DyTrackConfig, preset
from dytrack_ros.model.weights import (
    load_config,
    load_encoder,
    load_weights,
    model_card,
    resolve_weights,
    save_weights,
    with_search_region,
)
from dytrack_ros.training.augmentation import AugmentationConfig, PairAugmentation
from dytrack_ros.training.cutouts import Cutouts
from dytrack_ros.training.distillation import MODES
from dytrack_ros.training.distributed import Ranks, joined_ranks
from dytrack_ros.training.sampling import SAMPLINGS, PairSampler
from dytrack_ros.training.streaming import PairStream
from dytrack_ros.training.teacher import Teacher
from dytrack_ros.training.trainer import PAIRS_PER_EPOCH, SCHEDULES, STRATEGIES, TrainConfig, Trainer
from dytrack_ros.training.width_reduction import reduce_width

CUTOUTS_FILE = "cutouts.npz"
REDUCTION_FILE = "reduced.pt"
REDUCTION_BATCH = 32
FIRST_REDUCTION_STEP = 10**9
"""Batches of this number and later ones are none that the training reaches."""
AMP_TYPES = {"off": None, "bf16": torch.bfloat16}


def parser() -> argparse.ArgumentParser:
    defaults = TrainConfig()
    p = argparse.ArgumentParser(
        prog="dytrack train", description="Trains DyTrack.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--data", nargs="+", required=True, help=DATA_HELP)
    p.add_argument("--stream", action=argparse.BooleanOptionalAction, default=None,
                   help="read images from the disk throughout, instead of keeping all on the device "
                        "(default: if --data names a NAME:FOLDER)")  # fmt: skip
    p.add_argument(
        "--reader-threads", type=int, help="threads of each process that read images (default: all its cores)"
    )
    p.add_argument("--data-licence", default="research use", help="what the model card says of the data's licence")
    p.add_argument("--out", type=Path, required=True, help="folder for weights, curves and the state to resume from")
    p.add_argument("--model", choices=PRESETS, default="dytrack_small")
    start = p.add_mutually_exclusive_group()
    start.add_argument("--encoder", help="pretrained ViT to start from (timm, MAE or DINOv2 layout)")
    start.add_argument("--init", help="weights of this package to start from, e.g. stage 1's")
    start.add_argument("--teacher", help="wider weights of this package: start as their reduction, and learn from them")
    p.add_argument("--reduction-pairs", type=int, default=256, help="pairs that the reduction is fitted on")
    p.add_argument("--stage", type=int, choices=(1, 2), default=defaults.stage)
    p.add_argument("--strategy", choices=STRATEGIES, default=defaults.strategy)
    p.add_argument("--distillation", choices=MODES, default=defaults.distillation)
    p.add_argument("--recycling", choices=RECYCLING_SCHEMAS, default="b")
    p.add_argument("--search-size", type=int, help="side of the search region in px, if not the preset's")
    p.add_argument("--search-factor", type=float, help="its side in target sides, if not the preset's")
    length = p.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=defaults.steps)
    length.add_argument(
        "--epochs", type=float, help=f"length of the run in epochs of {PAIRS_PER_EPOCH} pairs, the paper's"
    )
    p.add_argument("--minutes", type=float, help="end after this much training time even if steps are left")
    p.add_argument("--batch", type=int, default=defaults.batch, help="pairs in a step, of all processes together")
    p.add_argument("--lr-backbone", type=float, default=defaults.lr_backbone)
    p.add_argument("--lr", type=float, default=defaults.lr)
    p.add_argument("--lr-adapters", type=float, help="learning rate of the adapters (default: --lr)")
    p.add_argument("--relative-rates", action="store_true",
                   help="encoder and adapters: rates in proportion to the size of each array's weights, at most as given")  # fmt: skip
    p.add_argument("--schedule", choices=SCHEDULES, default=defaults.schedule)
    p.add_argument("--warmup-steps", type=int, default=defaults.warmup_steps)
    p.add_argument("--clip-norm", type=float, default=defaults.clip_norm)
    p.add_argument("--freeze-blocks", type=int, default=defaults.freeze_blocks)
    p.add_argument(
        "--corner-weight",
        type=float,
        default=defaults.corner_weight,
        help="weight of the heat maps' own loss; paper: 0",
    )
    p.add_argument("--sampling", choices=SAMPLINGS, default="balanced",
                   help="balanced: large sources count more, but less than by size; paper: all sources alike")  # fmt: skip
    p.add_argument("--video-share", type=float, default=0.4, help="share of the pairs from videos if balanced")
    p.add_argument("--max-gap", type=int, default=100, help="how many frames apart the images of a video pair may be")
    p.add_argument(
        "--absent",
        type=float,
        default=0.0,
        help="share of the pairs without the target, whose score is to be 0; paper: 0",
    )
    p.add_argument("--synthetic", type=float, default=0.0,
                   help="share of the pairs that show an object that was cut out before another scene; paper: 0")  # fmt: skip
    p.add_argument("--parts", type=float, default=0.0,
                   help="share of the pairs whose target is a part of the object, or more than it; paper: 0")  # fmt: skip
    p.add_argument("--background-mask", type=float,
                   help="how opaque, in [0, 1), a background_mask over the template's surroundings shows what the target is; paper: 0 "
                        "(default: as in --init or --teacher, else 0)")  # fmt: skip
    p.add_argument("--distractors", type=int, default=AugmentationConfig.distractors,
                   help="how many objects of other pairs may stand in a search region")  # fmt: skip
    p.add_argument("--cutouts", type=Path, metavar="FILE",
                   help="masks of the objects for --synthetic, made if not there yet (default: cutouts.npz in --out)")  # fmt: skip
    p.add_argument("--seed", type=int, default=defaults.seed)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--amp", choices=["auto", *AMP_TYPES], default="auto", help="auto: bf16 where the chip has it")
    p.add_argument("--compile", action="store_true", help="torch.compile the network")
    p.add_argument("--threads", type=int, help="CPU threads")
    p.add_argument("--resume", action="store_true", help="go on from the state in --out, if there is one")
    return p


def amp_type(choice: str, device: str) -> torch.dtype | None:
    """The autocast type: what was asked for, or bf16 where the device computes in it natively."""
    if choice != "auto":
        return AMP_TYPES[choice]
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device.startswith("cuda") else _cpu_has_bf16()
    return torch.bfloat16 if native else None


def _cpu_has_bf16() -> bool:
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False


def starting_model(args: argparse.Namespace) -> DyTrack:
    torch.manual_seed(args.seed)
    start = args.init or args.teacher
    background_mask = (
        args.background_mask
        if args.background_mask is not None
        else load_config(resolve_weights(start)).background_mask
        if start
        else 0.0
    )
    config = preset(args.model, recycling=args.recycling, background_mask=background_mask)
    if args.init:
        model = load_weights(args.init)
        model.config = replace(model.config, background_mask=background_mask)
        size, factor = model.config.search_size, model.config.search_factor
        expected = replace(config, search_size=size, search_factor=factor)
        if model.config != expected:
            raise ValueError(f"--init {args.init} holds {model.config}, but --model and --recycling ask for {expected}")
    else:
        model = DyTrack(config)
        if args.encoder:
            load_encoder(model, args.encoder)
    return with_search_region(model, args.search_size or config.search_size, args.search_factor or config.search_factor)


def train_config(args: argparse.Namespace) -> TrainConfig:
    """What the options say of the training itself."""
    names = TrainConfig.__dataclass_fields__
    config = TrainConfig(**{name: value for name, value in vars(args).items() if name in names})
    return replace(config, steps=math.ceil(args.epochs * PAIRS_PER_EPOCH / args.batch)) if args.epochs else config


def prepare(args: argparse.Namespace, ranks: Ranks) -> tuple[Trainer, list[str]]:
    """The trainer, ready to run, and the names of its data's sources.

    Raises OSError or ValueError for what cannot be used.
    """
    dataset = open_data(args.data)
    if ranks.leads and (absent := left_out(dataset)):
        print(summary("left out for their labels", absent), flush=True)
    model = starting_model(args)
    sampler = PairSampler(dataset, args.seed, args.video_share, max_gap=args.max_gap, sampling=args.sampling)
    streams = any(map(names_reader, args.data)) if args.stream is None else args.stream
    bank = (
        ImageBank.pack([]).to(ranks.device) if streams else ImageBank.load(dataset, ranks.device, progress=ranks.leads)
    )
    choices = AugmentationConfig(
        absent=args.absent, synthetic=args.synthetic, distractors=args.distractors, parts=args.parts
    )
    augmentation = PairAugmentation(bank, model.config, choices, args.seed, cutouts(args, dataset, ranks))
    if streams:
        threads = args.reader_threads or max(os.cpu_count() // ranks.local_size, 1)
        sampler = PairStream(dataset, sampler, augmentation.views(), ranks.device, threads)
    config, teacher = train_config(args), None
    if args.teacher:
        model, teacher = reduced(args, model.config, sampler, augmentation)
    trainer = Trainer(
        model,
        sampler,
        augmentation,
        config,
        args.out,
        amp=amp_type(args.amp, args.device),
        compile_model=args.compile,
        ranks=ranks,
        teacher=teacher,
    )
    if args.resume and trainer.resume() and ranks.leads:
        print(f"resuming at step {trainer.step}, {trainer.elapsed / 60:.1f} minutes in", flush=True)
    return trainer, sorted(ImageTable.of(dataset.images).source_names)


def cutouts(args: argparse.Namespace, dataset: Dataset, ranks: Ranks) -> Cutouts | None:
    """The objects that were cut out, if the options want any; made by each process alike, and written by the first."""
    if not (args.synthetic or args.cutouts):
        return None
    path = args.cutouts or args.out / CUTOUTS_FILE
    if path.exists():
        return Cutouts.load(path, dataset)
    made = Cutouts.made(dataset, max(os.cpu_count() // ranks.local_size, 1), progress=ranks.leads)
    if ranks.leads:
        print(
            f"{len(made.masks)} of {int(ImageTable.of(dataset.images).trainable.sum())} objects were cut out",
            flush=True,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(path, dataset)
    return made


def reduced(
    args: argparse.Namespace, config: DyTrackConfig, sampler: PairSampler | PairStream, augmentation: PairAugmentation
) -> tuple[DyTrack, Teacher]:
    """The start that is cut from ``--teacher``, and the teacher. Kept in ``--out``, so that resuming need not cut again."""
    wide = with_search_region(load_weights(args.teacher), config.search_size, config.search_factor)
    kept = args.out / REDUCTION_FILE
    if args.resume and kept.exists():
        state = torch.load(kept, weights_only=True)
        model, projection = DyTrack(config), state["projection"]
        model.load_state_dict(state["model"])
        return model, Teacher(wide.fuse(), projection)
    crops = []
    for number in range(math.ceil(args.reduction_pairs / REDUCTION_BATCH)):
        step = FIRST_REDUCTION_STEP + number
        crops.append(augmentation(sampler.batch(step, REDUCTION_BATCH), step))
    template, search = (
        normalize(torch.cat([getattr(c, part) for c in crops])).cpu() for part in ("template", "search")
    )
    model, projection = reduce_width(wide, config, template, search)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "projection": projection}, kept)
    return model, Teacher(wide, projection)


def unreadable_images(trainer: Trainer) -> int:
    """How many images no process could read while training; ends the threads that read."""
    stream = trainer.sampler
    if not isinstance(stream, PairStream):
        return 0
    stream.close()
    if stream.unreadable:
        print(summary("unreadable images, whose pairs were replaced", list(stream.unreadable.values())))
    return int(trainer.ranks.total(torch.tensor(len(stream.unreadable))))


def train(args: argparse.Namespace, ranks: Ranks, command: str) -> int:
    """One run, from the options to the weights and their card; the exit code of the command."""
    try:
        trainer, sources = prepare(args, ranks)
    except (OSError, ValueError) as error:
        print(f"dytrack train: {error}", file=sys.stderr)
        return 2
    trainer.run()
    unreadable = unreadable_images(trainer)
    if ranks.leads:
        write_result(args, trainer, command, sources, unreadable)
    return 0


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high")
    command = "train " + shlex.join(argv if argv is not None else sys.argv[1:])
    with ExitStack() as stack:
        try:
            ranks = stack.enter_context(joined_ranks(args.device))
        except ValueError as error:
            print(f"dytrack train: {error}", file=sys.stderr)
            return 2
        return train(args, ranks, command)


def write_result(args: argparse.Namespace, trainer: Trainer, command: str, sources: list[str], unreadable: int) -> None:
    """The weights and their card."""
    weights = save_weights(args.out / f"{args.model}.safetensors", trainer.model)
    on_gpu = trainer.device.type == "cuda"
    card = {
        "model": args.model,
        "command": command,
        "seed": args.seed,
        "steps": trainer.step,
        "pairs": trainer.step * trainer.config.batch,
        "training_minutes": round(trainer.elapsed / 60, 1),
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name(trainer.device) if on_gpu else "CPU",
        "processes": trainer.ranks.size,
        "data": sources,
        "data_licence": args.data_licence,
    }
    if unreadable:
        card["unreadable_images"] = unreadable
    if args.init or args.teacher:
        card["started_from" if args.init else "reduced_from"] = model_card(resolve_weights(args.init or args.teacher))
    weights.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"wrote {weights}")


if __name__ == "__main__":
    sys.exit(main())
