#!/usr/bin/env python3
"""Measure the torch engine on a GPU with and without CUDA graphs, for every preset.

    benchmarks/cuda_graphs.py                # a table, and benchmarks/results/cuda_graphs.json

Weights are random, since times do not depend on them. Both kinds take turns frame by frame, so that load affects both
alike. A frame is `begin` and `advance` up to the exit, and `locate`: crops uploaded, scores and
box read back.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.engines.torch_engine import TorchEngine
from dytrack_ros.model import DyTrack, save_weights
from dytrack_ros.model.presets import PRESETS, preset

RESULTS = Path(__file__).parent / "results" / "cuda_graphs.json"
WARM_UP = 10


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", choices=PRESETS, default=list(PRESETS))
    p.add_argument("--device", default="cuda", help="cpu only tries this script out: there both are the same")
    p.add_argument("--frames", type=int, default=200, help="measured frames of each exit (default: %(default)s)")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


def frame_ms(engine: TorchEngine, search: np.ndarray, exit_index: int) -> float:
    started_s = time.perf_counter()
    engine.begin(search)
    for _ in range(exit_index):
        engine.advance()
    engine.locate()
    return 1000 * (time.perf_counter() - started_s)


def measure(model: str, device: str, frames: int) -> list[dict]:
    """A row for each exit: medians in ms of both kinds."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        weights = save_weights(Path(folder) / "random.safetensors", DyTrack(preset(model)))
        engines = {
            "graphs": TorchEngine(weights, device=device),
            "eager": TorchEngine(weights, device=device, cuda_graphs=False),
        }
    template_size, search_size = preset(model).template_size, preset(model).search_size
    for engine in engines.values():
        engine.set_template(rng.integers(0, 256, (template_size, template_size, 3), np.uint8))
    search = rng.integers(0, 256, (search_size, search_size, 3), np.uint8)
    rows = []
    for exit_index in range(1, engines["eager"].exit_count + 1):
        times: dict[str, list[float]] = {name: [] for name in engines}
        for _ in tqdm(range(frames + WARM_UP), desc=f"{model} exit {exit_index}", leave=False):
            for name, engine in engines.items():
                times[name].append(frame_ms(engine, search, exit_index))
        medians = {f"{name}_ms": round(median(values[WARM_UP:]), 3) for name, values in times.items()}
        rows.append({"model": model, "exit": exit_index, **medians})
    return rows


def main() -> None:
    args = parser().parse_args()
    rows = [row for model in args.models for row in measure(model, args.device, args.frames)]
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else "CPU"
    print(f"{device}\n{'model':<15}{'exit':>5}{'graphs ms':>11}{'eager ms':>10}{'ratio':>7}")
    for row in rows:
        ratio = row["eager_ms"] / row["graphs_ms"]
        print(f"{row['model']:<15}{row['exit']:>5}{row['graphs_ms']:>11.3f}{row['eager_ms']:>10.3f}{ratio:>7.2f}")
    facts = {"device": device, "frames": args.frames, "machine": machine_facts(), "rows": rows}
    args.results.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
