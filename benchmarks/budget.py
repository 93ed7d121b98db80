#!/usr/bin/env python3
"""Measure how FrameBudget responds to a 2x slow-down, to another camera rate and to random load.

benchmarks/budget.py --data FOLDER   # runs a sequence back and forth; benchmarks/pictures.py draws the results
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import matplotlib
import numpy as np
from tqdm import tqdm

from dytrack_ros.data.sequences import load_sequences
from dytrack_ros.policies import FrameBudget
from dytrack_ros.policies.budget_source import BudgetSource, CameraPace, CameraPeriod
from dytrack_ros.tracking import DyTracker

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results" / "budget.json"
PHASE = 250  # frames of each phase of a response


def _burn(until: float) -> None:
    while time.monotonic() < until:
        pass


def _burn_now_and_then(seed: int, running) -> None:
    drawn = random.Random(seed)
    while running.is_set():
        _burn(time.monotonic() + drawn.uniform(0.3, 3))
        time.sleep(drawn.uniform(0.3, 3))


@contextmanager
def load(random_load: bool = False):
    """Load every core by other processes, all the time or at random times."""
    running = multiprocessing.Event()
    running.set()
    target, arguments = (_burn_now_and_then, lambda i: (i, running)) if random_load else (_burn, lambda i: (1e18,))
    burners = [multiprocessing.Process(target=target, args=arguments(i), daemon=True) for i in range(os.cpu_count())]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


class Loop:
    """Tracks a sequence forwards and backwards without end; images are read beforehand."""

    def __init__(self, tracker: DyTracker, sequence):
        self.tracker = tracker
        images = list(sequence.images())
        self.images = images + images[-2:0:-1]
        tracker.initialize(images[0], sequence.truth[0])
        self.number = 0

    def step(self, policy: FrameBudget) -> dict:
        self.number += 1
        result = self.tracker.track(self.images[self.number % len(self.images)])
        return {
            "ms": 1e3 * result.seconds,
            "exit": result.exit_index,
            "budget_ms": 1e3 * policy.budget_s,
            "thrift": policy.thrift,
            "slowdown": policy.slowdown,
        }


def slow_down_step(tracker: DyTracker, sequence) -> dict:
    """Measure a deadline that exit 1 can keep even under load, with all cores loaded in the middle third."""
    deadline = 4 * tracker.exit_costs().answers[0]
    policy = FrameBudget(0.75 * deadline, deadline)
    tracker.set_policy(policy)
    loop, trace = Loop(tracker, sequence), []
    for phase in ("steady", "all cores loaded", "steady again"):
        with load() if phase == "all cores loaded" else nullcontext():
            trace += [loop.step(policy) | {"phase": phase} for _ in tqdm(range(PHASE), desc=phase, unit="frame")]
    missed = [frame["ms"] > 1e3 * deadline for frame in trace]
    thirds = {"steady": missed[:PHASE], "step": missed[PHASE : 2 * PHASE], "after": missed[2 * PHASE :]}
    misses = {name: round(float(np.mean(values)), 4) for name, values in thirds.items()}
    misses["step_after_30_frames"] = round(float(np.mean(thirds["step"][30:])), 4)
    misses["after_after_30_frames"] = round(float(np.mean(thirds["after"][30:])), 4)
    return {"deadline_ms": 1e3 * deadline, "misses": misses, "trace": trace}


def camera_rate_change(tracker: DyTracker, sequence) -> dict:
    """Measure a camera whose period changes from long to short and back, known from its stamps only."""
    costs = tracker.exit_costs().answers
    periods = (1.1 * (costs[1] + costs[2]) / 2, 1.1 * (costs[0] + costs[1]) / 2)
    source, camera, pace = BudgetSource("camera"), CameraPeriod(), CameraPace()
    policy = FrameBudget(periods[0])
    tracker.set_policy(policy)
    loop, trace, stamp = Loop(tracker, sequence), [], 0.0
    for phase, period in enumerate((*periods, periods[0])):
        for _ in tqdm(range(PHASE), desc=f"a camera of {1 / period:.1f} Hz", unit="frame"):
            stamp += period
            camera.observe(stamp)
            budget = source.budget_s(camera.seconds, 0.0, policy.exit_seconds(1), pace)
            if budget and abs(budget / policy.budget_s - 1) > 0.01:
                policy.budget_s = budget
            trace.append(loop.step(policy) | {"phase": phase, "period_ms": 1e3 * period})
    return {"trace": trace}


def random_load(tracker: DyTracker, sequence) -> dict:
    costs = tracker.exit_costs().answers
    policy = FrameBudget(1.15 * (costs[0] + costs[2]) / 2)
    tracker.set_policy(policy)
    loop = Loop(tracker, sequence)
    with load(random_load=True):
        trace = [loop.step(policy) for _ in tqdm(range(2 * PHASE), desc="random load", unit="frame")]
    mean = float(np.mean([frame["ms"] for frame in trace]))
    return {"mean_error": mean / (1e3 * policy.budget_s) - 1, "trace": trace}


# --- figures ----------------------------------------------------------------------------------------------------------

EXIT_COLOURS = {1: "#2a9d8f", 2: "#e9c46a", 3: "#e76f51"}


def response(result: dict):
    """Frame times and thrift through a slow-down, a change of the camera's rate, and random load."""
    parts = {
        "slow_down_step": "all cores loaded by others in the middle third",
        "camera_rate_change": "another camera rate in the middle third",
        "random_load": "random load by others",
    }
    figure, grid = plt.subplots(2, 3, figsize=(15, 5.4), sharex="col", height_ratios=(3, 1), layout="constrained")
    for (times, thrifts), (name, title) in zip(grid.T, parts.items(), strict=True):
        trace = result[name]["trace"]
        ms = np.array([frame["ms"] for frame in trace])
        exits = np.array([frame["exit"] for frame in trace])
        numbers = np.arange(len(trace))
        for exit_index, colour in EXIT_COLOURS.items():
            chosen = exits == exit_index
            times.plot(numbers[chosen], ms[chosen], ".", color=colour, markersize=3, label=f"exit {exit_index}")
        times.plot(numbers, running_mean(ms, 30), color="black", linewidth=1.3, label="mean of 30 frames")
        times.plot(numbers, [frame["budget_ms"] for frame in trace], "--", color="#d1495b", label="budget")
        if "deadline_ms" in result[name]:
            times.axhline(result[name]["deadline_ms"], color="#888888", linewidth=0.8, label="deadline")
        times.set(title=title, ylim=(0, 1.35 * np.quantile(ms, 0.99)))
        thrifts.plot(numbers, [frame["thrift"] for frame in trace], color="#264653", linewidth=1)
        thrifts.set(xlabel="frame", ylim=(-0.05, 1.05))
    grid[0, 0].set_ylabel("milliseconds")
    grid[1, 0].set_ylabel("thrift")
    grid[0, 0].legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    return figure


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of each value and up to ``window`` - 1 values before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


# --- command ----------------------------------------------------------------------------------------------------------


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="folder of sequences: NAME/groundtruth.txt and NAME/img/*")
    p.add_argument("--model")
    p.add_argument("--engine", default="auto")
    p.add_argument("--sequence", default="Bike", help="the one that is run back and forth")
    p.add_argument("--results", type=Path, default=RESULTS)
    args = p.parse_args()
    sequence = next(s for s in load_sequences(args.data) if s.name == args.sequence)
    tracker = DyTracker.from_pretrained(args.model, engine=args.engine)
    results = {
        "model": tracker.model_name,
        "engine": tracker.engine_name,
        "calibration": tracker.calibration_note,
        "exit_ms": [round(1e3 * seconds, 2) for seconds in tracker.exit_costs().answers],
        "cores": os.cpu_count(),
        "slow_down_step": slow_down_step(tracker, sequence),
        "camera_rate_change": camera_rate_change(tracker, sequence),
        "random_load": random_load(tracker, sequence),
    }
    print(results["slow_down_step"]["misses"], results["random_load"]["mean_error"])
    args.results.write_text(json.dumps({"response": results}) + "\n")


if __name__ == "__main__":
    main()
