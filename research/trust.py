#!/usr/bin/env python3
"""Measure time and accuracy of thresholds with ExitTrust against full depth and the paper's rule.

    research/trust.py --sequences DEV_SEQUENCES     # prints a table, writes research/results/trust.json

Policies take turns on every sequence, under equal load.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.data.sequences import load_sequences
from dytrack_ros.evaluation.run import mean_over_sequences, run_sequence, times_ms
from dytrack_ros.policies import ExitPolicy, ExitTrust, FixedExit, FixedThresholds
from dytrack_ros.tracking import DyTracker

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from budget import runs_in_turns

RESULTS = Path(__file__).parent / "results" / "trust.json"
TAU_2 = 0.02
MODELS = (("dytrack_tiny", 0.74), ("dytrack_small", 0.76))
FULL_DEPTH = "full depth"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sequences", required=True, help="folder of development sequences")
    p.add_argument("--frames", type=int, help="only this many first frames of each")
    p.add_argument("--model", help="one model, with the thresholds of --tau-1, instead of those that are shipped")
    p.add_argument("--tau-1", type=float, default=MODELS[-1][1])
    p.add_argument("--engine", default="auto")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


def policies(tau_1: float, exit_count: int) -> dict[str, ExitPolicy]:
    taus = (tau_1, *[TAU_2] * (exit_count - 2))
    return {
        FULL_DEPTH: FixedExit(exit_count),
        "paper's rule": FixedThresholds(taus),
        "with trust": FixedThresholds(taus, ExitTrust()),
    }


def measured(tracker: DyTracker, sequences: list, tau_1: float) -> list[dict]:
    """Return a row for every policy: success AUC, mean milliseconds over frames and over sequences, and exits."""
    rows = []
    for name, of_policy in runs_in_turns(tracker, sequences, policies(tau_1, tracker.exit_count), run_sequence).items():
        means = mean_over_sequences([run.summary() for run in of_policy])
        over_frames = times_ms(result.seconds for run in of_policy for result in run.results)
        rows.append(
            {
                "model": tracker.model_name,
                "policy": name,
                "tau_1": tau_1,
                "success_auc": means["success_auc"],
                "ms_over_frames": over_frames["mean_ms"],
                "ms_over_sequences": means["mean_ms"],
                "exits": means["exits"],
            }
        )
    return rows


def table(rows: list[dict]) -> str:
    lines = [
        "| | success AUC | ms, mean over frames | of full depth | ms, mean over sequences | of full depth | exits |",
        "|---|---|---|---|---|---|---|",
    ]
    full = {row["model"]: row for row in rows if row["policy"] == FULL_DEPTH}
    for row in rows:
        cells = [f"`{row['model']}`, {row['policy']}", f"{row['success_auc']:.3f}"]
        for mean in ("ms_over_frames", "ms_over_sequences"):
            cells += [f"{row[mean]:.1f}", f"{row[mean] / full[row['model']][mean]:.0%}"]
        lines.append("| " + " | ".join([*cells, ", ".join(f"{k}: {n}" for k, n in row["exits"].items())]) + " |")
    return "\n".join(lines)


def main() -> None:
    args = parser().parse_args()
    sequences = [sequence.head(args.frames) for sequence in load_sequences(args.sequences)]
    rows = []
    for model, tau_1 in [(args.model, args.tau_1)] if args.model else MODELS:
        tracker = DyTracker.from_pretrained(model, engine=args.engine)
        rows += measured(tracker, sequences, tau_1)
    facts = {"frames": args.frames, "engine": tracker.engine_name, "rows": rows, "machine": machine_facts()}
    args.results.write_text(json.dumps(facts, indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
