"""The command ``evaluate``: success AUC and more, per exit and for adaptive policies, on folders of sequences, offline
and in streams that do not wait for the tracker."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.evaluation import table
from dytrack_ros.evaluation.datasets import Sequence, as_variant, load_sequences
from dytrack_ros.evaluation.options import command_parser
from dytrack_ros.evaluation.plan import CAMERA, OFFLINE, PlannedRun, plan
from dytrack_ros.evaluation.report import add_to_card, json_text, report_entry
from dytrack_ros.evaluation.run import SequenceRun, run_sequence
from dytrack_ros.evaluation.streaming import run_stream
from dytrack_ros.tracking import DyTracker


def rate(text: str) -> float | str:
    return OFFLINE if text == OFFLINE else positive(text)


def budget(text: str) -> float | str:
    return CAMERA if text == CAMERA else positive(text)


def positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} must be positive")
    return value


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} must lie in [0, 1)")
    return value


def parser() -> argparse.ArgumentParser:
    p = command_parser("evaluate", __doc__)
    p.add_argument("--exits", default="1,2,3,adaptive",
                   help="exits to hold, `adaptive` (thresholds), `random`; or `none`")  # fmt: skip
    p.add_argument("--thresholds", type=float, nargs="+", help="tau_1 tau_2 ... of `adaptive`")
    p.add_argument("--budget-ms", type=budget, nargs="+", default=[], metavar="MS",
                   help="also run with these mean times a frame; `camera`: the stream's period")  # fmt: skip
    p.add_argument("--deadline-ms", type=positive, metavar="MS", help="longest time a frame of these budgets")
    p.add_argument("--predict-ahead", action="store_true", help="these budgets choose a frame's exit by the frame before")
    p.add_argument("--stream", type=rate, nargs="+", default=[OFFLINE], metavar="HZ",
                   help="frames a second of a stream, counting the frames that the variant shows; `offline`: every "
                        "frame waits for the tracker")  # fmt: skip
    p.add_argument("--latency", type=share, default=0.0, metavar="SIGMA",
                   help="how long after its arrival a frame of a stream is judged, in frames (sigma of e-LAE)")  # fmt: skip
    p.add_argument("--out", type=Path, help="write all figures, and every frame's box and scores, to this JSON file")
    p.add_argument("--card", type=Path, help="add the means of offline runs without a budget to this model card (JSON)")
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.card and args.frames:
            raise ValueError("--card takes results of whole sequences only: leave out --frames")
        sequences = load_sequences(args.data)
        tracker = DyTracker.from_pretrained(args.model, args.engine, device=args.device, threads=args.threads)
        first_exit_s = tracker.exit_costs().answer(1) if CAMERA in args.budget_ms else 0.0
        planned_runs = plan(args, tracker.exit_count, first_exit_s)
    except (FileNotFoundError, ImportError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    report = {"model": tracker.model_name, "engine": tracker.engine_name, "runs": []}
    print(f"{tracker.model_name} on {tracker.engine_name}, {len(sequences)} sequences")
    print(table.HEADER)
    for planned in planned_runs:
        prepared = [as_variant(sequence, planned.variant).head(args.frames) for sequence in sequences]
        runs = run_all(tracker, prepared, planned, args.latency)
        entry = report_entry(planned, runs, args.latency)
        report["runs"].append(entry)
        print(table.row(planned, entry["mean"]), flush=True)
        if planned.budget:
            print(table.budget_note(entry["budget"]), flush=True)
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json_text(report) + "\n")
        if args.card and planned.stream_hz is None and planned.budget is None:
            add_to_card(args.card, planned.variant, planned.policy_name, planned.policy, entry["mean"])
    return 0


def run_all(
    tracker: DyTracker, sequences: list[Sequence], planned: PlannedRun, permitted_latency: float
) -> list[SequenceRun]:
    """One pass over the sequences with the planned policy, showing progress."""
    tracker.policy = planned.policy
    runs = []
    label = f"{planned.variant}, {planned.policy_name}"
    with tqdm(total=sum(map(len, sequences)), desc=label, unit="frame", leave=False) as bar:
        for sequence in sequences:
            before = bar.n

            def show(number: int, _, before=before) -> None:
                bar.update(before + number + 1 - bar.n)

            if planned.stream_hz is None:
                runs.append(run_sequence(tracker, sequence, show))
            else:
                runs.append(run_stream(tracker, sequence, planned.stream_hz, permitted_latency, show))
            show(len(sequence) - 1, None)
    return runs


if __name__ == "__main__":
    sys.exit(main())
