"""The command ``dytrack benchmark``: times of every installed engine by stage, box head and exit and end to end, beside
those of OpenCV's trackers; peak memory and start-up time of each."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import re
import sys
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.benchmark.benches import Size
from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.benchmark.peers import add_nanotrack_option, available_peers
from dytrack_ros.benchmark.report import NOTE, build_report, size_name, tables
from dytrack_ros.benchmark.run import (
    BenchmarkConfig,
    Contestant,
    measure,
    start_engine,
    start_peer,
)
from dytrack_ros.cli.command import command
from dytrack_ros.cli.options import add_precision_option
from dytrack_ros.cli.types import at_least_one
from dytrack_ros.engines import ENGINES
from dytrack_ros.engines.base import check_device
from dytrack_ros.engines.registry import missing_packages
from dytrack_ros.engines.requirements import install_advice
from dytrack_ros.evaluation.report import json_text
from dytrack_ros.model.weight_files import default_model, resolve_weights

MEASURABLE = tuple(name for name in ENGINES if name != "auto")
SIZES = [(640, 480), (1280, 720), (1920, 1080)]
SMALLEST_SIDE = 64
BUSY = 0.25  # a warning is due above this load average per usable core


def frame_size(text: str) -> Size:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or min(map(int, match.groups())) < SMALLEST_SIDE:
        raise argparse.ArgumentTypeError(f"{text!r} must be WIDTHxHEIGHT, both at least {SMALLEST_SIDE} pixels")
    return int(match[1]), int(match[2])


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="dytrack benchmark", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument(
        "--model",
        nargs="+",
        metavar="MODEL",
        help="shipped names or paths of weights; the package's default if not given",
    )
    p.add_argument("--engines", nargs="+", choices=MEASURABLE, help="default: all installed engines")
    p.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")
    add_precision_option(p)
    p.add_argument("--threads", type=at_least_one, help="CPU threads of engines and peers; default: each library's own")
    p.add_argument("--sizes", type=frame_size, nargs="+", metavar="WxH", help="frame sizes in pixels", default=SIZES)
    p.add_argument("--rounds", type=at_least_one, default=10, help="turns of each engine and peer")
    p.add_argument("--frames", type=at_least_one, default=5, help="frames of a turn, for each exit and size")
    add_nanotrack_option(p)
    p.add_argument("--out", type=Path, help="write every figure and the machine's facts to this JSON file")
    return p


@command("benchmark")
def main(argv: list[str] | None) -> int:
    args = parser().parse_args(argv)
    report = run_benchmark(args, machine_facts())
    report["command"] = "dytrack benchmark " + " ".join(argv if argv is not None else sys.argv[1:])
    print(tables(report))
    print(f"\n{NOTE}")
    for name, reason in report["not_measured"].items():
        print(f"{name}: not measured; {reason}")
    if _was_busy(report["machine"]):
        load, cores = report["machine"]["load_average"][0], report["machine"]["usable_cores"]
        print(f"Load average {load} on {cores} cores before the start: other programs ran, and times are too long.")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json_text(report) + "\n")
        print(f"wrote {args.out}")
    return 0


def run_benchmark(args: argparse.Namespace, machine: dict) -> dict:
    """Return the report. Raises ValueError, OSError, ImportError or RuntimeError for arguments that cannot be used."""
    check_device(args.device)
    weights = [resolve_weights(model) for model in args.model or [default_model()]]
    if len({path.stem for path in weights}) < len(weights):
        raise ValueError(f"the models {', '.join(map(str, weights))} must have different names")
    engines, not_measured = wanted_engines(args.engines)
    peers, missing_peers = available_peers(args.nanotrack)
    sizes = tuple(dict.fromkeys(args.sizes))
    config = BenchmarkConfig(args.rounds, args.frames, sizes, args.device, args.threads, args.precision)

    contestants: list[Contestant] = []
    with contextlib.ExitStack() as processes:

        def enter(contestant: Contestant) -> None:
            processes.callback(contestant.worker.stop)
            contestants.append(contestant)

        pairs = [(engine, path) for path in weights for engine in engines]
        # disable=None: no bar without a terminal. Engines that export graphs show their own bar.
        for engine, path in tqdm(pairs, desc="starting engines", unit="engine", leave=False, disable=None):
            try:
                enter(start_engine(engine, path, config))
            except RuntimeError as error:
                if args.engines:
                    raise
                not_measured[f"{engine} with {path.stem}"] = str(error)
        if not contestants:
            raise RuntimeError(f"no engine can be measured: {'; '.join(not_measured.values())}")
        for peer in peers:
            enter(start_peer(peer, config))
        measure(contestants, config)

    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine,
        "settings": {
            "rounds": config.rounds,
            "frames_per_turn": config.frames,
            "sizes": [size_name(size) for size in config.sizes],
            "device": config.device,
            "precision": config.precision,
            "threads": config.threads or "each library's default",
        },
        **build_report(contestants, config),
        "not_measured": not_measured | missing_peers,
    }


def wanted_engines(asked_for: list[str] | None) -> tuple[list[str], dict[str, str]]:
    """Return the engines to measure, and for each that is not installed what it needs.

    Raises ImportError if one that was asked for is not installed.
    """
    missing = {name: missing_packages(name) for name in asked_for or MEASURABLE}
    lacking = {name: f"it needs: {install_advice(packages)}" for name, packages in missing.items() if packages}
    if asked_for and lacking:
        raise ImportError("; ".join(f"engine {name!r} is not installed, {need}" for name, need in lacking.items()))
    return [name for name in missing if name not in lacking], lacking


def _was_busy(machine: dict) -> bool:
    return machine["load_average"][0] > BUSY * machine["usable_cores"]
