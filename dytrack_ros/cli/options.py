"""Options of the subcommands that run a tracker over sets of sequences."""

from __future__ import annotations

import argparse
from pathlib import Path

from dytrack_ros.cli.types import at_least_one, at_least_zero, growth, named_folder, unit_interval
from dytrack_ros.data.registry import AUTO, LAYOUTS, Dataset, load_dataset
from dytrack_ros.data.sequences import VARIANTS
from dytrack_ros.engines import ENGINE_PRECISIONS, ENGINES
from dytrack_ros.tracking import DyTracker, TrackerConfig


def add_tracker_options(p: argparse.ArgumentParser) -> None:
    """Add the options that choose the weights, the engine and the tracker's settings."""
    p.add_argument("--model", help="shipped name or path of weights; the package's default if not given")
    p.add_argument("--engine", choices=ENGINES, default="auto")
    p.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")
    add_precision_option(p)
    p.add_argument("--threads", type=at_least_one, help="CPU threads; the engine's default if not given")
    p.add_argument(
        "--init-correction",
        type=unit_interval,
        default=TrackerConfig.init_correction,
        help="share of the difference between the init box and the network's box on the same frame that is "
        "corrected in later frames; 0 is the paper's tracker",
    )
    p.add_argument(
        "--motion-prior",
        type=at_least_zero,
        default=TrackerConfig.motion_prior,
        help="preference for a small motion between two frames; 0 is the paper's tracker",
    )
    p.add_argument(
        "--size-damping",
        type=unit_interval,
        default=TrackerConfig.size_damping,
        help="how much a low score holds back changes of the box's size; 0 is the paper's tracker",
    )
    p.add_argument(
        "--entering-growth",
        type=growth,
        default=TrackerConfig.entering_growth,
        help="growth of the area at which a target that was cut off by the image's border gets a new template; inf is "
        "the paper's tracker",
    )


def add_precision_option(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--precision",
        choices=ENGINE_PRECISIONS,
        default="auto",
        help="auto: the fastest that the chip supports; fp32: exact; int8: the graphs of `dytrack quantise`, in "
        "openvino",
    )


def sequence_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a subcommand that runs a tracker over sets of sequences."""
    p = argparse.ArgumentParser(
        prog=f"dytrack {name}", description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument(
        "--sequences",
        required=True,
        nargs="+",
        type=named_folder,
        metavar="[NAME=]FOLDER",
        help="sets of sequences: a dataset in its official layout, or plain NAME/groundtruth.txt and "
        "NAME/img/*; a set is called NAME, or as its folder",
    )
    p.add_argument("--dataset", choices=(AUTO, *LAYOUTS), default=AUTO, help="layout of the sets; auto: recognised")
    p.add_argument("--variants", nargs="+", choices=VARIANTS, default=["standard"])
    p.add_argument("--first", type=at_least_one, metavar="N", help="only the first N frames of each sequence")
    add_tracker_options(p)
    return p


def load_sets(args: argparse.Namespace, attributes: Path | None = None) -> dict[str, Dataset]:
    """Return the sets of ``--sequences`` by name. Raises FileNotFoundError or ValueError for an unreadable set."""
    names = [name for name, _ in args.sequences]
    if len(set(names)) < len(names):
        raise ValueError(f"--sequences: the names {', '.join(names)} must differ: give NAME=FOLDER")
    return {name: load_dataset(folder, args.dataset, attributes) for name, folder in args.sequences}


def make_tracker(args: argparse.Namespace, weights: Path) -> DyTracker:
    """Return the tracker of :func:`add_tracker_options`'s options. Raises OSError, ValueError or ImportError."""
    return DyTracker.from_pretrained(
        str(weights),
        engine=args.engine,
        config=TrackerConfig(
            init_correction=args.init_correction,
            motion_prior=args.motion_prior,
            size_damping=args.size_damping,
            entering_growth=args.entering_growth,
        ),
        device=args.device,
        threads=args.threads,
        precision=args.precision,
    )
