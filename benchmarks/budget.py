#!/usr/bin/env python3
"""What FrameBudget is worth, measured by real runs of shipped weights on sequences with known truth.

    benchmarks/budget.py accuracy --data FOLDER   # AUC against mean ms: every exit, lots, plain thresholds, FrameBudget
    benchmarks/budget.py stream --data FOLDER     # the same policies in a live stream
    benchmarks/budget.py response --data FOLDER   # a 2x slow-down, another camera rate, random load
    benchmarks/budget.py long --data FOLDER       # how far the mean is from the budget after 300 and 3,000 frames
    benchmarks/budget.py draw                     # the figures of docs/budget.md from the results

Results are merged into one JSON file, which ``draw`` reads. Policies take turns on every sequence, so that whatever
else the machine does hits all alike. Needs matplotlib to draw.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dytrack_ros.data.sequences import load_sequences
from dytrack_ros.evaluation.report import rounded
from dytrack_ros.evaluation.run import run_sequence
from dytrack_ros.evaluation.streaming import run_stream
from dytrack_ros.policies import ExitPolicy, FixedExit, FixedThresholds, FrameBudget, RandomExit
from dytrack_ros.policies.budget_source import BudgetSource, CameraPace, CameraPeriod
from dytrack_ros.tracking import DyTracker

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "budget.json"
FIGURES = HERE.parent / "docs" / "images"
PHASE = 250  # frames of each phase of a response


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("part", choices=("accuracy", "stream", "response", "long", "draw"))
    p.add_argument("--data", help="folder of sequences: NAME/groundtruth.txt and NAME/img/*")
    p.add_argument("--model")
    p.add_argument("--engine", default="auto")
    p.add_argument("--frames", type=int, help="only this many first frames of each sequence")
    p.add_argument("--rates", type=float, nargs="+", default=[30.0, 10.0], help="stream: frames a second")
    p.add_argument("--sequence", default="Bike", help="response: the sequence that is run back and forth")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


# --- policies ---------------------------------------------------------------------------------------------------------


def exit_seconds(tracker: DyTracker) -> tuple[float, ...]:
    return tracker.exit_costs().answers


def accuracy_policies(tracker: DyTracker) -> dict[str, Callable]:
    """Makers of policies by name; a name's first word is its curve in the figure."""
    costs = exit_seconds(tracker)
    count = tracker.exit_count
    makers: dict[str, Callable] = {f"exit {k}": lambda k=k: FixedExit(k) for k in range(1, count + 1)}
    for part in (0.15, 0.35, 0.5, 0.85):
        budget = costs[0] + part * (costs[-1] - costs[0])
        makers[f"budget {part}"] = lambda b=budget: FrameBudget(b)
    for shares in ((0.7, 0.2, 0.1), (1 / 3, 1 / 3, 1 / 3)):
        makers[f"lots {shares[-1]:.1f}"] = lambda s=shares: RandomExit(s)
    for tau in (0.70, 0.76):
        makers[f"naive {tau}"] = lambda t=tau: FixedThresholds([t] * (count - 1))
    return makers


def stream_policies(tracker: DyTracker, hz: float) -> dict[str, Callable]:
    makers: dict[str, Callable] = {f"exit {k}": lambda k=k: FixedExit(k) for k in range(1, tracker.exit_count + 1)}
    budget = BudgetSource("camera").budget_s(1 / hz, first_exit_s=exit_seconds(tracker)[0])
    makers["budget camera"] = lambda: FrameBudget(budget)
    return makers


def in_turns(tracker: DyTracker, sequences, makers: dict[str, Callable], run: Callable) -> list[dict]:
    """Every policy on every sequence, sequence by sequence; one policy object for all sequences, as in a node."""
    policies = {name: make() for name, make in makers.items()}
    runs = runs_in_turns(tracker, sequences, policies, run)
    return [summary(name, policies[name], made) for name, made in runs.items()]


def runs_in_turns(tracker: DyTracker, sequences, policies: dict[str, ExitPolicy], run: Callable) -> dict[str, list]:
    """The runs of every policy over the sequences; the policies take turns on each, so that all see the same machine."""
    runs = {name: [] for name in policies}
    with tqdm(total=len(sequences) * len(policies), unit="run") as bar:
        for sequence in sequences:
            for name, policy in policies.items():
                bar.set_postfix_str(f"{sequence.name}, {name}")
                tracker.set_policy(policy)
                runs[name].append(run(tracker, sequence))
                bar.update()
    return runs


def summary(name: str, policy, runs: list) -> dict:
    seconds = np.concatenate([[result.seconds for result in run.results] for run in runs])
    exits = Counter(result.exit_index for run in runs for result in run.results)
    budget = getattr(policy, "budget_s", None)
    return {
        "policy": name,
        "auc": float(np.mean([run.summary()["success_auc"] for run in runs])),
        "auc_by_sequence": {run.sequence.name: round(run.summary()["success_auc"], 4) for run in runs},
        "mean_ms": 1e3 * float(seconds.mean()),
        "p95_ms": 1e3 * float(np.quantile(seconds, 0.95)),
        "frames": len(seconds),
        "exits": {str(k): exits[k] for k in sorted(exits)},
        **({"budget_ms": 1e3 * budget, "mean_error": float(seconds.mean() / budget - 1)} if budget else {}),
    }


# --- response ---------------------------------------------------------------------------------------------------------


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
    """Other processes that burn every core, all the time or now and then."""
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
    """Tracks a sequence back and forth without end; images are read beforehand."""

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
    """A deadline that exit 1 can keep even under load; both cores burnt in the middle third."""
    deadline = 4 * exit_seconds(tracker)[0]
    policy = FrameBudget(0.75 * deadline, deadline)
    tracker.set_policy(policy)
    loop, trace = Loop(tracker, sequence), []
    for phase in ("steady", "both cores burnt", "steady again"):
        with load() if phase == "both cores burnt" else _nothing():
            trace += [loop.step(policy) | {"phase": phase} for _ in tqdm(range(PHASE), desc=phase, unit="frame")]
    missed = [frame["ms"] > 1e3 * deadline for frame in trace]
    thirds = {"steady": missed[:PHASE], "step": missed[PHASE : 2 * PHASE], "after": missed[2 * PHASE :]}
    misses = {name: round(float(np.mean(values)), 4) for name, values in thirds.items()}
    misses["step_after_30_frames"] = round(float(np.mean(thirds["step"][30:])), 4)
    misses["after_after_30_frames"] = round(float(np.mean(thirds["after"][30:])), 4)
    return {"deadline_ms": 1e3 * deadline, "misses": misses, "trace": trace}


def camera_rate_change(tracker: DyTracker, sequence) -> dict:
    """A camera whose period goes from a long one to a short one and back; its stamps alone tell."""
    costs = exit_seconds(tracker)
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
    costs = exit_seconds(tracker)
    policy = FrameBudget(1.15 * (costs[0] + costs[2]) / 2)
    tracker.set_policy(policy)
    loop = Loop(tracker, sequence)
    with load(random_load=True):
        trace = [loop.step(policy) for _ in tqdm(range(2 * PHASE), desc="random load", unit="frame")]
    mean = float(np.mean([frame["ms"] for frame in trace]))
    return {"mean_error": mean / (1e3 * policy.budget_s) - 1, "trace": trace}


def long_run(tracker: DyTracker, sequence) -> dict:
    """How far the mean is from the budget after 300, 1,000 and 3,000 frames; near the ends after 600 alone."""
    costs = exit_seconds(tracker)
    errors = {}
    for part, frames in ((0.05, 600), (0.5, 3000), (0.95, 600)):
        policy = FrameBudget(costs[0] + part * (costs[-1] - costs[0]))
        tracker.set_policy(policy)
        loop = Loop(tracker, sequence)
        ms = [loop.step(policy)["ms"] for _ in tqdm(range(frames), desc=f"budget {part}", unit="frame")]
        errors[f"{1e3 * policy.budget_s:.1f}"] = {
            str(count): float(np.mean(ms[:count])) / (1e3 * policy.budget_s) - 1
            for count in (300, 600, 1000, 3000)
            if count <= frames
        }
    return errors


@contextmanager
def _nothing():
    yield


# --- command ----------------------------------------------------------------------------------------------------------


def main() -> None:
    args = parser().parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    if args.part == "draw":
        sys.path.insert(0, str(HERE))
        from budget_figures import draw

        draw(results, FIGURES)
        return
    if not args.data:
        raise SystemExit("--data is needed: a folder of sequences, NAME/groundtruth.txt and NAME/img/*")
    sequences = [sequence.head(args.frames) for sequence in load_sequences(args.data)]
    tracker = DyTracker.from_pretrained(args.model, engine=args.engine)
    machine = {
        "model": tracker.model_name,
        "engine": tracker.engine_name,
        "calibration": tracker.calibration_note,
        "exit_ms": [round(1e3 * seconds, 2) for seconds in exit_seconds(tracker)],
        "cores": os.cpu_count(),
        "frames": sum(map(len, sequences)),
    }
    print(machine)
    if args.part == "accuracy":
        runs = in_turns(tracker, sequences, accuracy_policies(tracker), run_sequence)
        results["accuracy"] = machine | {"runs": runs}
        show(runs)
    elif args.part == "stream":
        results["stream"] = machine | {"rates": {}}
        for hz in args.rates:
            runs = in_turns(tracker, sequences, stream_policies(tracker, hz), lambda t, s, hz=hz: run_stream(t, s, hz))
            results["stream"]["rates"][f"{hz:g}"] = runs
            print(f"--- {hz:g} Hz")
            show(runs)
    elif args.part == "long":
        sequence = next(s for s in sequences if s.name == args.sequence)
        results["long"] = machine | {"mean_errors": long_run(tracker, sequence)}
        print(results["long"]["mean_errors"])
    else:
        sequence = next(s for s in sequences if s.name == args.sequence)
        responses = {
            "slow_down_step": slow_down_step(tracker, sequence),
            "camera_rate_change": camera_rate_change(tracker, sequence),
            "random_load": random_load(tracker, sequence),
        }
        results["response"] = machine | responses
        print(responses["slow_down_step"]["misses"], responses["random_load"]["mean_error"])
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(rounded(results)) + "\n")


def show(runs: list[dict]) -> None:
    for run in runs:
        error = f"  mean/B - 1 = {100 * run['mean_error']:+.1f} %" if "mean_error" in run else ""
        print(f"{run['policy']:14} AUC {run['auc']:.3f}  {run['mean_ms']:6.1f} ms  {run['exits']}{error}")


if __name__ == "__main__":
    main()
