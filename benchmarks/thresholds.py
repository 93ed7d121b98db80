#!/usr/bin/env python3
"""Measure accuracy and time of the default thresholds against every exit, without a budget.

    benchmarks/thresholds.py --sequences dev=FOLDER hard=FOLDER --first 120 --models dytrack_small dytrack_tiny
    benchmarks/thresholds.py --table        # the table of docs/results.md again, from the results file

Policies take turns on every sequence, so that load of the machine affects all alike. Results of other models stay in
the file.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.cli.types import named_folder
from dytrack_ros.data.registry import load_dataset
from dytrack_ros.evaluation.run import mean, run_sequence
from dytrack_ros.model.weight_files import shipped_models
from dytrack_ros.policies import ExitPolicy, FixedExit, FrameBudget
from dytrack_ros.tracking import DyTracker

RESULTS = Path(__file__).resolve().parent / "results" / "thresholds.json"
DEFAULT = "default thresholds"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sequences", nargs="+", type=named_folder, default=[], metavar="NAME=FOLDER", help="sets")
    p.add_argument("--first", type=int, help="only this many first frames of each sequence")
    p.add_argument("--models", nargs="+", default=shipped_models())
    p.add_argument("--engine", default="auto")
    p.add_argument("--threads", type=int)
    p.add_argument("--table", action="store_true", help="print the table only")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


def runs_in_turns(tracker: DyTracker, sequences, policies: dict[str, ExitPolicy]) -> dict[str, list]:
    """Return the runs of every policy over the sequences; policies take turns on each, under equal load."""
    runs = {name: [] for name in policies}
    with tqdm(total=len(sequences) * len(policies), unit="run") as bar:
        for sequence in sequences:
            for name, policy in policies.items():
                bar.set_postfix_str(f"{sequence.name}, {name}")
                tracker.set_policy(policy)
                runs[name].append(run_sequence(tracker, sequence))
                bar.update()
    return runs


def measured(model: str, args: argparse.Namespace) -> dict:
    """Return success AUC, mean milliseconds over all frames, and frames by exit, of every policy on every set."""
    tracker = DyTracker.from_pretrained(model, engine=args.engine, threads=args.threads)
    policies = {f"exit {k}": FixedExit(k) for k in range(1, tracker.exit_count + 1)} | {DEFAULT: FrameBudget(None)}
    sets = {}
    for name, folder in args.sequences:
        sequences = [sequence.head(args.first) for sequence in load_dataset(folder).sequences]
        runs = runs_in_turns(tracker, sequences, policies)
        sets[name] = {policy: _summary(of_policy) for policy, of_policy in runs.items()}
    facts = {"thresholds": list(policies[DEFAULT].thresholds), "engine": tracker.engine_name, "first": args.first}
    return facts | {"machine": machine_facts(), "sets": sets}


def _summary(runs: list) -> dict:
    results = [result for run in runs for result in run.results]
    exits = Counter(result.exit_index for result in results)
    return {
        "auc": mean(run.summary()["success_auc"] for run in runs),
        "mean_ms": 1e3 * mean(result.seconds for result in results),
        "exits": {str(k): exits[k] for k in sorted(exits)},
    }


def table(results: dict) -> str:
    """Return a Markdown table with a row for each model and set; time is relative to the last exit's."""
    lines = []
    for model, entry in results.items():
        for name, policies in entry["sets"].items():
            *exits, default = policies.values()
            if not lines:
                titles = ["success AUC", *list(policies)[:-1], DEFAULT, "to the best exit", "time"]
                lines = [titles, ["---"] * len(titles)]
            aucs = [each["auc"] for each in exits]
            cells = [f"{auc:.3f}" for auc in (*aucs, default["auc"])]
            time = default["mean_ms"] / exits[-1]["mean_ms"]
            lines.append([f"`{model}`, {name}", *cells, f"{default['auc'] - max(aucs):+.3f}", f"{100 * time:.0f} %"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    args = parser().parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    if not args.table:
        if not args.sequences:
            raise SystemExit("--sequences is needed: sets of sequences with ground truth, such as dev=FOLDER")
        for model in args.models:
            results[Path(model).stem] = measured(model, args)
            args.results.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
