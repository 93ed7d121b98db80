#!/usr/bin/env python3
"""Whether int8 pays: OpenVINO's graphs quantised after training by NNCF, against the same graphs in bf16 (or fp32).

    benchmarks/int8.py --shards train-*.tar --data FOLDER [--model NAME] [--crops 200] [--frames 60] [--rounds 60]

Needs NNCF (`pip install nncf==3.4.0`, in an environment of its own: nothing else here does). The ranges of the values are
found on crops of training images, never on the sequences of ``--data``, on which success AUC is measured. Speed: frames
through both engines in turns, the network alone. CPU time counts beside the clock, since other programs change it less.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.cli.quantise import example_crops
from dytrack_ros.data.shards import ShardDataset
from dytrack_ros.data.sequences import load_sequences
from dytrack_ros.engines.int8_export import write_int8_graphs
from dytrack_ros.engines.openvino_engine import OpenVINOEngine
from dytrack_ros.evaluation.report import rounded
from dytrack_ros.evaluation.run import run_sequence
from dytrack_ros.model.weight_files import default_model, load_config, resolve_weights
from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker

RESULTS = Path(__file__).parent / "results" / "int8.json"
WARM_UP = 3


def speed(engines: dict[str, OpenVINOEngine], rounds: int) -> dict:
    """Median milliseconds of each exit, by the clock and of CPU time, of frames that the engines take in turns."""
    random = np.random.default_rng(0)
    for engine in engines.values():
        engine.set_template(random.integers(0, 256, (engine.template_size,) * 2 + (3,), np.uint8))
    times = {name: [[] for _ in range(engine.exit_count)] for name, engine in engines.items()}
    for number in tqdm(range(WARM_UP + rounds), desc="speed"):
        order = list(engines.items())[:: 1 if number % 2 else -1]
        for name, engine in order:
            search = random.integers(0, 256, (engine.search_size,) * 2 + (3,), np.uint8)
            for position, of_exit in enumerate(times[name]):
                wall, cpu = time.perf_counter(), time.process_time()
                engine.begin(search)
                for _ in range(position + 1):
                    engine.advance()
                engine.locate()
                if number >= WARM_UP:
                    of_exit.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: [dict(zip(("ms", "cpu_ms"), 1e3 * np.median(of_exit, axis=0), strict=True)) for of_exit in exits]
        for name, exits in times.items()
    }


def accuracy(engine: OpenVINOEngine, data: str, frames: int) -> list[float]:
    """Success AUC at every exit on the first ``frames`` of each sequence."""
    tracker, found = DyTracker(engine), []
    for exit_index in range(1, engine.exit_count + 1):
        tracker.set_policy(FixedExit(exit_index))
        sequences = tqdm(load_sequences(data), desc=f"exit {exit_index}")
        found.append(
            float(np.mean([run_sequence(tracker, s.head(frames)).summary()["success_auc"] for s in sequences]))
        )
    return found


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shards", type=Path, nargs="+", required=True, help="training images, as `train` takes them")
    p.add_argument("--data", required=True, help="folder of sequences: NAME/groundtruth.txt and NAME/img/*")
    p.add_argument("--model", default=default_model())
    p.add_argument("--crops", type=int, default=200)
    p.add_argument("--frames", type=int, default=60)
    p.add_argument("--rounds", type=int, default=60)
    p.add_argument("--graphs", type=Path, help="folder for the int8 graphs; those that lie there already are taken")
    p.add_argument("--results", type=Path, default=RESULTS)
    args = p.parse_args()

    weights = resolve_weights(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.graphs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.glob("*.xml")):
            write_int8_graphs(
                weights, example_crops(ShardDataset(args.shards), load_config(weights), args.crops), folder
            )
        engines = {
            "openvino": OpenVINOEngine(weights),
            "int8": OpenVINOEngine(weights, graphs=folder, precision="int8"),
        }
        report = {
            "model": weights.stem,
            "machine": machine_facts(),
            "crops": args.crops,
            "frames": args.frames,
            "rounds": args.rounds,
            "speed": speed(engines, args.rounds),
            "success_auc": {name: accuracy(engine, args.data, args.frames) for name, engine in engines.items()},
        }
    args.results.write_text(json.dumps(rounded(report), indent=1) + "\n")
    print("| | exit | ms | CPU ms | success AUC |\n|---|---|---|---|---|")
    for name in engines:
        for exit_index, (taken, auc) in enumerate(
            zip(report["speed"][name], report["success_auc"][name], strict=True), start=1
        ):
            print(f"| {name} | {exit_index} | {taken['ms']:.1f} | {taken['cpu_ms']:.1f} | {auc:.4f} |")


if __name__ == "__main__":
    main()
