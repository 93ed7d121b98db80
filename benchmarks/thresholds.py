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
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # tools/ros_env sets PYTHONSAFEPATH

from budget import runs_in_turns

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.cli.types import named_folder
from dytrack_ros.data.registry import load_dataset
from dytrack_ros.evaluation.report import rounded
from dytrack_ros.evaluation.run import mean, run_sequence
from dytrack_ros.model.weight_files import shipped_models
from dytrack_ros.policies import FixedExit, FrameBudget
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


def measured(model: str, args: argparse.Namespace) -> dict:
    """Return success AUC by set, mean milliseconds over all frames, and frames by exit, of every policy."""
    tracker = DyTracker.from_pretrained(model, engine=args.engine, threads=args.threads)
    sets = {name: load_dataset(folder).sequences for name, folder in args.sequences}
    sequences = [sequence.head(args.first) for of_set in sets.values() for sequence in of_set]
    policies = {f"exit {k}": FixedExit(k) for k in range(1, tracker.exit_count + 1)} | {DEFAULT: FrameBudget(None)}
    rows = {}
    for name, runs in runs_in_turns(tracker, sequences, policies, run_sequence).items():
        aucs, start = {}, 0
        for set_name, of_set in sets.items():
            aucs[set_name] = mean(run.summary()["success_auc"] for run in runs[start : start + len(of_set)])
            start += len(of_set)
        results = [result for run in runs for result in run.results]
        exits = Counter(result.exit_index for result in results)
        rows[name] = {
            "auc": aucs,
            "mean_ms": 1e3 * mean(result.seconds for result in results),
            "exits": {str(k): exits[k] for k in sorted(exits)},
        }
    return {
        "thresholds": policies[DEFAULT].thresholds,
        "engine": tracker.engine_name,
        "first": args.first,
        "machine": machine_facts(),
        "rows": rows,
    }


def table(results: dict) -> str:
    """Return the Markdown table: AUC, and its difference from the best exit, by set; time; share of each exit."""
    names = list(
        dict.fromkeys(name for model in results.values() for row in model["rows"].values() for name in row["auc"])
    )
    lines = [
        "| model, policy | "
        + " | ".join(f"{name} AUC | to best exit" for name in names)
        + " | ms | of full depth | exits |",
        "|---" * (2 * len(names) + 4) + "|",
    ]
    for model, entry in results.items():
        exits = [row for policy, row in entry["rows"].items() if policy != DEFAULT]
        for policy, row in entry["rows"].items():
            cells = [f"`{model}`, {policy}"]
            for name in names:
                best = max(other["auc"][name] for other in exits)
                cells += [f"{row['auc'][name]:.3f}", f"{row['auc'][name] - best:+.3f}"]
            cells += [f"{row['mean_ms']:.1f}", f"{row['mean_ms'] / exits[-1]['mean_ms']:.0%}"]
            cells.append(
                ", ".join(f"{k}: {count / sum(row['exits'].values()):.0%}" for k, count in row["exits"].items())
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    args = parser().parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    if not args.table:
        if not args.sequences:
            raise SystemExit("--sequences is needed: sets of sequences with ground truth, such as dev=FOLDER")
        for model in args.models:
            results[Path(model).stem] = measured(model, args)
            args.results.write_text(json.dumps(rounded(results), indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
