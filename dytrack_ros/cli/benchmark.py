"""The command ``benchmark``: how fast every installed engine is, by stage, box head and exit and end to end, beside
OpenCV's trackers in the same run; how much memory each takes, and how soon it is ready."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import re
import sys
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.benchmark.report import NOTE, build_report, size_name, tables
from dytrack_ros.benchmark.run import (
    Contestant,
    Plan,
    find_peers,
    measure,
    start_engine,
    start_matrix_product,
    start_peer,
)
from dytrack_ros.benchmark.worker import Size
from dytrack_ros.data.sequences import load_sequences
from dytrack_ros.engines import ENGINES
from dytrack_ros.engines.registry import check_device, install_advice, missing_packages
from dytrack_ros.evaluation.report import json_text
from dytrack_ros.model.arithmetic import Arithmetic
from dytrack_ros.model.weight_files import default_model, load_config, resolve_weights

MEASURABLE = tuple(name for name in ENGINES if name != "auto")
SIZES = [(640, 480), (1280, 720), (1920, 1080)]
SMALLEST_SIDE = 64
BUSY = 0.25  # load average per usable core from which a warning is due


def frame_size(text: str) -> Size:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or min(map(int, match.groups())) < SMALLEST_SIDE:
        raise argparse.ArgumentTypeError(f"{text!r} must be WIDTHxHEIGHT, both at least {SMALLEST_SIDE} pixels")
    return int(match[1]), int(match[2])


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="dytrack benchmark", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--model", nargs="+", metavar="MODEL",
                   help="shipped names or paths of weights; the package's default if not given")  # fmt: skip
    p.add_argument("--engines", nargs="+", choices=MEASURABLE, help="those that are installed if not given")
    p.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")
    p.add_argument(
        "--threads", type=at_least_one, help="CPU threads of engines and peers; each library's default if not given"
    )
    p.add_argument("--sizes", type=frame_size, nargs="+", metavar="WxH", help="frame sizes in pixels", default=SIZES)
    p.add_argument("--rounds", type=at_least_one, default=10, help="turns of each engine and peer")
    p.add_argument("--frames", type=at_least_one, default=5, help="frames of a turn, for each exit and size")
    p.add_argument(
        "--data", help="folder of sequences (NAME/groundtruth.txt, NAME/img/*) instead of a synthetic target"
    )
    p.add_argument(
        "--nanotrack", nargs=2, metavar=("BACKBONE.onnx", "HEAD.onnx"), help="also measure OpenCV's NanoTrack"
    )
    p.add_argument("--vittrack", metavar="FILE.onnx", help="also measure OpenCV's VitTrack")
    p.add_argument("--peers-python", metavar="PYTHON",
                   help="interpreter of an environment with opencv-contrib-python-headless and safetensors, for OpenCV's "
                        "trackers: that OpenCV cannot be installed beside another")  # fmt: skip
    p.add_argument("--out", type=Path, help="write every figure and the machine's facts to this JSON file")
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        report = run_benchmark(args, machine_facts())
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        print(f"dytrack benchmark: {error}", file=sys.stderr)
        return 2
    report["command"] = "dytrack benchmark " + " ".join(argv if argv is not None else sys.argv[1:])
    print(tables(report))
    print(f"\n{NOTE}")
    for name, reason in report["not_measured"].items():
        print(f"{name}: not measured; {reason}")
    if _was_busy(report["machine"]):
        load, cores = report["machine"]["load_average"][0], report["machine"]["usable_cores"]
        print(
            f"Other programs were running: load average {load} on {cores} cores before the start. Times are too long."
        )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json_text(report) + "\n")
        print(f"wrote {args.out}")
    return 0


def run_benchmark(args: argparse.Namespace, machine: dict) -> dict:
    """The whole report. Raises an error that says what is wrong with the arguments, before anything is measured."""
    check_device(args.device)
    weights = [resolve_weights(model) for model in args.model or [default_model()]]
    arithmetic = {path.stem: Arithmetic.of(load_config(path)) for path in weights}
    if len(arithmetic) < len(weights):
        raise ValueError(f"the models {', '.join(map(str, weights))} must have different names")
    if args.data:
        load_sequences(args.data)
    engines, not_measured = wanted_engines(args.engines)
    peers, missing_peers = find_peers(args.peers_python, args.nanotrack, args.vittrack)
    sizes = tuple(dict.fromkeys(args.sizes))
    plan = Plan(args.rounds, args.frames, sizes, args.device, args.threads, args.data, args.peers_python)

    contestants: list[Contestant] = []
    with contextlib.ExitStack() as processes:

        def enter(contestant: Contestant) -> None:
            processes.callback(contestant.worker.stop)
            contestants.append(contestant)

        pairs = [(engine, path) for path in weights for engine in engines]
        # No bar where nobody watches; engines that make graphs show a bar of their own.
        for engine, path in tqdm(pairs, desc="starting engines", unit="engine", leave=False, disable=None):
            try:
                enter(start_engine(engine, path, plan))
            except RuntimeError as error:
                if args.engines:
                    raise
                not_measured[f"{engine} with {path.stem}"] = str(error)
        if not contestants:
            raise RuntimeError(f"no engine can be measured: {'; '.join(not_measured.values())}")
        for peer in peers:
            enter(start_peer(peer, plan))
        enter(start_matrix_product(plan))
        measure(contestants, plan)

    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine,
        "settings": {
            "rounds": plan.rounds,
            "frames_per_turn": plan.frames,
            "sizes": [size_name(size) for size in plan.sizes],
            "device": plan.device,
            "threads": plan.threads or "each library's default",
            "frames": "sequences" if plan.data else "synthetic",
        },
        **build_report(contestants, arithmetic, plan),
        "not_measured": not_measured | missing_peers,
    }


def wanted_engines(asked_for: list[str] | None) -> tuple[list[str], dict[str, str]]:
    """The engines to measure, and for each that is not installed what it needs.

    Raises ImportError where one of those asked for is not installed.
    """
    missing = {name: missing_packages(name) for name in asked_for or MEASURABLE}
    lacking = {name: f"it needs: {install_advice(packages)}" for name, packages in missing.items() if packages}
    if asked_for and lacking:
        raise ImportError("; ".join(f"engine {name!r} is not installed, {need}" for name, need in lacking.items()))
    return [name for name in missing if name not in lacking], lacking


def _was_busy(machine: dict) -> bool:
    return machine["load_average"][0] > BUSY * machine["usable_cores"]


if __name__ == "__main__":
    sys.exit(main())
