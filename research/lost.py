#!/usr/bin/env python3
"""Is a target that disappears reported as lost, and found again? On sequences whose target is painted over for a while.

    benchmarks/lost.py --data FOLDER

Every sequence is run at full depth with the recovery off (the paper's tracker), without the search, and whole.
Results go into a JSON file and, as a table, to the terminal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from disappearance import gap_summary, with_gaps
from tqdm import tqdm

from dytrack_ros.data.sequences import as_variant, load_sequences
from dytrack_ros.evaluation.report import json_text
from dytrack_ros.evaluation.run import mean_over_sequences, run_sequence
from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker, RecoverySettings, StateThresholds, TrackerConfig

RESULTS = Path(__file__).parent / "results" / "lost.json"
MANNERS = {
    "off": None,
    "where last seen": RecoverySettings(search=False),
    "whole image": RecoverySettings(),
}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="folder of sequences: NAME/groundtruth.txt and NAME/img/*")
    p.add_argument("--model")
    p.add_argument("--engine", default="auto")
    p.add_argument("--variant", default="standard")
    p.add_argument("--frames", type=int, help="only this many first frames of each sequence")
    p.add_argument("--lost", type=float, help="state threshold instead of the default")
    p.add_argument("--uncertain", type=float, help="state threshold instead of the default")
    p.add_argument("--results", type=Path, default=RESULTS)
    args = p.parse_args()

    tracker = DyTracker.from_pretrained(args.model, engine=args.engine, policy=FixedExit(99))
    given = {name: value for name in ("lost", "uncertain") if (value := getattr(args, name)) is not None}
    states = StateThresholds(**given)
    sequences = [as_variant(sequence, args.variant).head(args.frames) for sequence in load_sequences(args.data)]
    report = {
        "model": tracker.model_name,
        "engine": tracker.engine_name,
        "variant": args.variant,
        "thresholds": vars(states),
        "gaps": {},
        "without_gaps": {},
    }
    print(f"{tracker.model_name} on {tracker.engine_name}, {len(sequences)} sequences, {report['thresholds']}")
    print("| recovery | lost AUC | said lost | false finds | found again | frames | AUC without gaps |")
    print("|---|---|---|---|---|---|---|")
    for name, settings in MANNERS.items():
        tracker.set_config(TrackerConfig(states, settings))
        runs = [run_sequence(tracker, with_gaps(sequence)) for sequence in tqdm(sequences, desc=name, leave=False)]
        whole = [run_sequence(tracker, sequence) for sequence in tqdm(sequences, desc=name, leave=False)]
        gaps = gap_summary(runs)
        auc = mean_over_sequences([run.summary() for run in whole])["success_auc"]
        report["gaps"][name], report["without_gaps"][name] = gaps, auc
        print(
            f"| {name} | {gaps['lost_auc']:.3f} | {gaps['said_lost']:.0%} of {gaps['gaps']} | {gaps['false_finds']} | "
            f"{gaps['found_again']:.0%} | {gaps['frames_to_find']:.0f} | {auc:.3f} |",
            flush=True,
        )
    args.results.write_text(json_text(report) + "\n")


if __name__ == "__main__":
    main()
