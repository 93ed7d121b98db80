"""The command ``dytrack train``: from training data to weights and their model card."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import shlex
import sys
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from dytrack_ros.data.datasets import ImageDataset
from dytrack_ros.data.labels import ImageTable
from dytrack_ros.data.registry import DATA_HELP, left_out, names_reader, open_data, summary
from dytrack_ros.model.dytrack import DyTrack
from dytrack_ros.model.presets import PRESETS, RECYCLING_SCHEMAS, DyTrackConfig, preset
from dytrack_ros.model.weight_files import load_config, model_card, resolve_weights
from dytrack_ros.model.weights import load_encoder, load_weights, read_state, save_weights, with_search_region
from dytrack_ros.training.augmentation import AugmentationConfig, PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.cutouts import Cutouts
from dytrack_ros.training.distillation import Teacher
from dytrack_ros.training.distributed import Ranks, joined_ranks
from dytrack_ros.training.options import options_of
from dytrack_ros.training.sampling import PairSampler, PairStream, SamplingConfig
from dytrack_ros.training.trainer import PAIRS_PER_EPOCH, TrainConfig, Trainer, amp_type

CUTOUTS_FILE = "cutouts.npz"
Config = TypeVar("Config", TrainConfig, SamplingConfig, AugmentationConfig)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows each default that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_value = action.default is not None and action.default is not False
        return super()._get_help_string(action) if has_value else action.help


def _add_options(group: Any, config: type, *names: str) -> None:
    """An option for each field of ``config`` that carries help, or for those of these ``names``."""
    for field in options_of(config):
        if names and field.name not in names:
            continue
        flag, text = "--" + field.name.replace("_", "-"), field.metadata["help"]
        if field.metadata["type"] is bool:
            group.add_argument(flag, action="store_true", default=field.default, help=text)
        else:
            settings = {"type": field.metadata["type"], "choices": field.metadata["choices"], "default": field.default}
            group.add_argument(flag, help=text, **settings)


def _config(config: type[Config], args: argparse.Namespace) -> Config:
    """The dataclass with the values of the options of its fields' names. Raises ValueError if one is out of range."""
    given = vars(args)
    return config(**{field.name: given[field.name] for field in fields(config) if field.name in given})


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="dytrack train",
        description="Trains DyTrack. Writes weights, model card, curves and the state to resume from into --out.",
        formatter_class=_Formatter,
    )
    data = p.add_argument_group("data")
    data.add_argument("--data", nargs="+", required=True, help=DATA_HELP)
    data.add_argument("--stream", action=argparse.BooleanOptionalAction, default=None,
                      help="read images from the disk throughout, instead of keeping all on the device "
                           "(default: if --data has a NAME:FOLDER)")  # fmt: skip
    data.add_argument(
        "--reader-threads", type=int, help="threads of each process that read images (default: all cores)"
    )
    data.add_argument("--data-licence", default="research use", help="data's licence, for the model card")
    _add_options(data, SamplingConfig)

    network = p.add_argument_group("network")
    network.add_argument("--model", choices=PRESETS, default="dytrack_small", help="preset, and name of the weights")
    start = network.add_mutually_exclusive_group()
    start.add_argument("--encoder", help="pretrained ViT to start from (timm, MAE or DINOv2 layout)")
    start.add_argument("--init", help="weights of this package to start from, e.g. stage 1's")
    network.add_argument("--teacher", help="other weights of this package, whose heat maps the network learns too")
    network.add_argument("--projection", type=Path,
                         help="file of research/width_reduction.py, to learn the tokens of --teacher too")  # fmt: skip
    network.add_argument("--recycling", choices=RECYCLING_SCHEMAS, default="b", help="feature recycling schema")
    network.add_argument("--size", type=int, metavar="N",
                         help="side of the search region in px, a multiple of 16; the position embedding is resampled "
                              "(default: as in --init, else the preset's)")  # fmt: skip
    network.add_argument("--template-size", type=int, metavar="N",
                         help="side of the template in px, a multiple of 16 "
                              "(default: at the scale of the search region)")  # fmt: skip
    network.add_argument("--search-factor", type=float,
                         help="side of the search region in target sides "
                              "(default: as in --init, else the preset's)")  # fmt: skip
    network.add_argument("--background-mask", type=float,
                         help="opacity in [0, 1) of the mask over the template's background; paper: 0 "
                              "(default: as in --init or --teacher, else 0)")  # fmt: skip

    training = p.add_argument_group("training")
    length = training.add_mutually_exclusive_group()
    _add_options(length, TrainConfig, "steps")
    length.add_argument(
        "--epochs", type=float, help=f"length of the run in epochs of {PAIRS_PER_EPOCH} pairs, the paper's"
    )
    _add_options(training, TrainConfig, *(field.name for field in options_of(TrainConfig) if field.name != "steps"))

    augmentation = p.add_argument_group("augmentation")
    _add_options(augmentation, AugmentationConfig)
    augmentation.add_argument("--cutouts", type=Path, metavar="FILE",
                              help="masks of the objects, made if not there "
                                   "(default with --synthetic: cutouts.npz in --out)")  # fmt: skip

    run = p.add_argument_group("run")
    run.add_argument("--out", type=Path, required=True, help="folder of the results")
    run.add_argument("--resume", action="store_true", help="go on from the state in --out, if there is one")
    run.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="of PyTorch")
    run.add_argument(
        "--amp", choices=("auto", "bf16", "off"), default="auto", help="auto: bf16 if the chip computes in it"
    )
    run.add_argument("--compile", action="store_true", help="torch.compile the network")
    run.add_argument("--threads", type=int, help="CPU threads of PyTorch")
    return p


# --- the start of a run ----------------------------------------------------------------------------------------------


def starting_model(args: argparse.Namespace) -> DyTrack:
    """The network to start from. Raises OSError or ValueError if the options do not fit together."""
    torch.manual_seed(args.seed)
    source = args.init or args.teacher
    mask = args.background_mask
    if mask is None:
        mask = load_config(resolve_weights(source)).background_mask if source else 0.0
    config = preset(args.model, recycling=args.recycling, background_mask=mask)
    if args.init:
        model = load_weights(args.init)
        model.config = replace(model.config, background_mask=mask)
        sizes = ("search_size", "search_factor", "template_size")
        expected = replace(config, **{name: getattr(model.config, name) for name in sizes})
        if model.config != expected:
            raise ValueError(f"--init {args.init} holds {model.config}, but --model and --recycling ask for {expected}")
    else:
        model = DyTrack(config)
        if args.encoder:
            load_encoder(model, args.encoder)
    return resized(model, args.size, args.template_size, args.search_factor)


def resized(model: DyTrack, size: int | None, template_size: int | None, factor: float | None) -> DyTrack:
    """``model`` for other crops;

    None keeps what it has. With ``size`` alone, both crops keep showing the same scale.
    """
    c = model.config
    search, factor = size or c.search_size, factor or c.search_factor
    template = template_size or (round(search / factor * c.template_factor) if size else c.template_size)
    for option, value in (("--size", search), ("--template-size", template)):
        if value % c.patch_size or value < c.patch_size:
            raise ValueError(f"{option} {value} must be a multiple of {c.patch_size}")
    return with_search_region(model, search, factor, template)


def cutouts(args: argparse.Namespace, dataset: ImageDataset, ranks: Ranks) -> Cutouts | None:
    """Masks of the objects, if the options ask for them. Each process makes the same; rank 0 writes them."""
    if not (args.synthetic or args.cutouts):
        return None
    path = args.cutouts or args.out / CUTOUTS_FILE
    if path.exists():
        return Cutouts.load(path, dataset)
    made = Cutouts.made(dataset, _threads(ranks), progress=ranks.leads)
    if ranks.leads:
        trainable = int(ImageTable.of(dataset.images).trainable.sum())
        print(f"{len(made.masks)} of {trainable} objects were cut out", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(path, dataset)
    return made


def teacher_of(args: argparse.Namespace, config: DyTrackConfig) -> Teacher | None:
    """The network of ``--teacher``, for the crops of ``config``. Raises OSError or ValueError if it does not fit."""
    if not args.teacher:
        if args.projection:
            raise ValueError(f"--projection {args.projection} needs --teacher")
        return None
    wide = load_weights(args.teacher)
    if wide.config.background_mask != config.background_mask:
        raise ValueError(
            f"--teacher {args.teacher} has background mask {wide.config.background_mask}, the network "
            f"{config.background_mask}: give --background-mask {wide.config.background_mask}"
        )
    wide = with_search_region(wide, config.search_size, config.search_factor, config.template_size)
    projection, expected = None, (wide.config.width, config.width)
    if args.projection:
        projection = read_state(args.projection).get("projection")
        if projection is None or projection.shape != expected:
            raise ValueError(f"--projection {args.projection} must hold a matrix `projection` of {expected}")
    return Teacher(wide.fuse(), projection)


def _threads(ranks: Ranks) -> int:
    """This process's share of the machine's cores."""
    return max((os.cpu_count() or 1) // ranks.local_size, 1)


def prepare(args: argparse.Namespace, ranks: Ranks) -> tuple[Trainer, list[str]]:
    """The trainer, ready to run, and the names of its data's sources. Raises OSError or ValueError for bad options."""
    config, choices = _config(TrainConfig, args), _config(AugmentationConfig, args)
    if args.epochs:
        config = replace(config, steps=math.ceil(args.epochs * PAIRS_PER_EPOCH / args.batch))
    drawn = _config(SamplingConfig, args)
    model = starting_model(args)
    teacher = teacher_of(args, model.config)
    dataset = open_data(args.data)
    if ranks.leads and (absent := left_out(dataset)):
        print(summary("left out for their labels", absent), flush=True)
    sampler = PairSampler(dataset, args.seed, drawn)
    streams = any(map(names_reader, args.data)) if args.stream is None else args.stream
    device = torch.device(ranks.device)
    bank = ImageBank.pack([]).to(device) if streams else ImageBank.load(dataset, device, progress=ranks.leads)
    augmentation = PairAugmentation(bank, model.config, choices, args.seed, cutouts(args, dataset, ranks))
    threads = args.reader_threads or _threads(ranks)
    pairs = PairStream(dataset, sampler, augmentation.views(), device, threads) if streams else sampler
    amp = amp_type(args.amp, args.device)
    trainer = Trainer(model, pairs, augmentation, config, args.out, amp, args.compile, ranks, teacher)
    if args.resume and trainer.resume() and ranks.leads:
        print(f"resuming at step {trainer.step}, {trainer.elapsed / 60:.1f} minutes in", flush=True)
    return trainer, sorted(ImageTable.of(dataset.images).source_names)


# --- the run ---------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace, ranks: Ranks, command: str) -> int:
    """Runs from the options to the weights and their card; returns the exit code of the command."""
    try:
        trainer, sources = prepare(args, ranks)
    except (OSError, ValueError) as error:
        print(f"dytrack train: {error}", file=sys.stderr)
        return 2
    try:
        trainer.run()
        unreadable = unreadable_images(trainer)
    except (OSError, FloatingPointError) as error:
        print(f"dytrack train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"dytrack train: interrupted at step {trainer.step}; --resume goes on from the last save", file=sys.stderr
        )
        return 130
    finally:
        if isinstance(trainer.sampler, PairStream):
            trainer.sampler.close()
    if ranks.leads:
        write_result(args, trainer, command, sources, unreadable)
    return 0


def unreadable_images(trainer: Trainer) -> int:
    """How many images could not be read while training, over all processes."""
    stream = trainer.sampler
    if not isinstance(stream, PairStream):
        return 0
    if stream.unreadable:
        print(summary("unreadable images, whose pairs were replaced", list(stream.unreadable.values())))
    return int(trainer.ranks.total(torch.tensor(len(stream.unreadable))))


def write_result(args: argparse.Namespace, trainer: Trainer, command: str, sources: list[str], unreadable: int) -> None:
    """Writes the weights, averaged if ``--ema`` is on, and their card."""
    weights = save_weights(args.out / f"{args.model}.safetensors", trainer.result)
    on_gpu = trainer.device.type == "cuda"
    card: dict[str, Any] = {
        "model": args.model,
        "command": command,
        "seed": args.seed,
        "steps": trainer.step,
        "pairs": trainer.step * trainer.config.batch,
        "training_minutes": round(trainer.elapsed / 60, 1),
        "averaging": trainer.config.ema,
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name(trainer.device) if on_gpu else "CPU",
        "processes": trainer.ranks.size,
        "data": sources,
        "data_licence": args.data_licence,
    }
    if unreadable:
        card["unreadable_images"] = unreadable
    for key, source in (("started_from", args.init), ("taught_by", args.teacher)):
        if source:
            card[key] = model_card(resolve_weights(source))
    weights.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(f"wrote {weights}")


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high")
    command = "dytrack train " + shlex.join(argv if argv is not None else sys.argv[1:])
    with ExitStack() as stack:
        try:
            ranks = stack.enter_context(joined_ranks(args.device))
        except ValueError as error:
            print(f"dytrack train: {error}", file=sys.stderr)
            return 2
        return train(args, ranks, command)


if __name__ == "__main__":
    sys.exit(main())
