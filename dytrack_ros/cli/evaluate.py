"""The command ``dytrack evaluate``: success AUC and more on sets of sequences, for each exit and for adaptive policies,
offline and in streams that do not wait for the tracker, beside OpenCV's NanoTrack if asked for."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dytrack_ros.benchmark.peers import PeerTracker, add_nanotrack_option, nanotrack
from dytrack_ros.cli.command import command
from dytrack_ros.cli.options import load_sets, make_tracker, sequence_parser
from dytrack_ros.cli.types import at_least_one, below_one, positive
from dytrack_ros.data.registry import Dataset
from dytrack_ros.data.sequences import Sequence, as_variant
from dytrack_ros.evaluation import report as reports
from dytrack_ros.evaluation.run import SequenceRun
from dytrack_ros.evaluation.run_matrix import CAMERA, RunSpec, run_matrix
from dytrack_ros.evaluation.streaming import run_at
from dytrack_ros.model.weight_files import default_model, resolve_weights
from dytrack_ros.tracking import DyTracker

Pass = tuple[str, RunSpec]  # over the set of that name


def budget(text: str) -> float | str:
    return CAMERA if text == CAMERA else positive(text)


def parser() -> argparse.ArgumentParser:
    p = sequence_parser("evaluate", __doc__)
    p.add_argument(
        "--attributes", type=Path, metavar="FOLDER", help="the dataset's attribute files if they are not in its folder"
    )
    p.add_argument(
        "--exits",
        default="1,2,3,adaptive",
        help="fixed exits, `adaptive` (thresholds), `random`, separated by commas; or `none`",
    )
    p.add_argument(
        "--starts",
        type=at_least_one,
        default=1,
        metavar="K",
        help="start at K frames of each sequence, for --first frames each, and take their mean: less noise",
    )
    p.add_argument("--thresholds", type=float, nargs="+", help="tau_1 tau_2 ... of `adaptive`; default: the model's")
    p.add_argument(
        "--budget-ms",
        type=budget,
        nargs="+",
        default=[],
        metavar="MS",
        help="also run with these mean times a frame; `camera`: the stream's period",
    )
    p.add_argument("--deadline-ms", type=positive, metavar="MS", help="longest time a frame of these budgets")
    p.add_argument(
        "--stream",
        type=positive,
        nargs="+",
        default=[],
        metavar="HZ",
        help="also run as streams of HZ frames a second, in which late answers are judged as late",
    )
    p.add_argument("--no-offline", action="store_true", help="run the streams only")
    p.add_argument(
        "--latency",
        type=below_one,
        default=0.0,
        metavar="SIGMA",
        help="permitted latency of a stream's answers, in frames (sigma of e-LAE)",
    )
    add_nanotrack_option(p)
    p.add_argument(
        "--report", type=Path, metavar="FOLDER", help="draw AUC against time, success plot and reliability as PNG files"
    )
    p.add_argument("--out", type=Path, help="write all figures, and every frame's box and scores, to this JSON file")
    p.add_argument(
        "--card",
        type=Path,
        help="write accuracy and calibration errors of offline runs without a budget to this model card (JSON)",
    )
    return p


@command("evaluate")
def main(argv: list[str] | None) -> int:
    args = parser().parse_args(argv)
    sets = load_sets(args, args.attributes)
    check_options(args, sets)
    tracker = make_tracker(args, resolve_weights(args.model or default_model()))
    if args.thresholds is None and tracker.calibration is not None:
        args.thresholds = list(tracker.calibration.thresholds)
    peers = {"NanoTrack": PeerTracker(nanotrack(args.nanotrack), args.threads)} if args.nanotrack else {}
    first_exit_s = tracker.exit_costs().answer(1) if CAMERA in args.budget_ms else 0.0
    # Each set has policies of its own: what one learns does not reach the next set.
    passes = [(name, spec) for name in sets for spec in run_matrix(args, tracker.exit_count, first_exit_s, peers)]
    report = write_results(args, sets, tracker, run_passes(args, sets, tracker, peers, passes))
    if text := reports.sets_table(report["sets"]):
        print(text)
    return 0


def check_options(args: argparse.Namespace, sets: dict[str, Dataset]) -> None:
    """Check before hours of tracking what cannot be done afterwards.

    Raises ValueError for options that need an unknown ground truth, ImportError for --report without Matplotlib,
    OSError for a report folder that cannot be made.
    """
    if args.card and args.first:
        raise ValueError("--card takes results of whole sequences only: leave out --first")
    if args.starts > 1 and not args.first:
        raise ValueError(f"--starts {args.starts} needs --first N, the number of frames of each start")
    if args.card or args.report:
        for dataset in sets.values():
            if not all(sequence.is_judged for sequence in dataset.sequences):
                raise ValueError(f"--card and --report need the truth, but only {dataset.layout.name}'s server has it")
    if args.report:
        if importlib.util.find_spec("matplotlib") is None:
            raise ImportError("--report draws with Matplotlib, which is not installed: pip install matplotlib")
        args.report.mkdir(parents=True, exist_ok=True)


def run_passes(
    args: argparse.Namespace,
    sets: dict[str, Dataset],
    tracker: DyTracker,
    peers: dict[str, PeerTracker],
    passes: list[Pass],
) -> Iterator[tuple[Pass, list[SequenceRun]]]:
    """Yield each pass with its runs over the sequences of its set. Shows progress."""
    prepared = {
        (name, variant): [
            part for sequence in dataset.sequences for part in parts_of(as_variant(sequence, variant), args)
        ]
        for name, dataset in sets.items() for variant in args.variants
    }  # fmt: skip
    total = sum(len(sequence) for name, spec in passes for sequence in prepared[name, spec.variant])
    with tqdm(total=total, unit="frame", leave=False) as bar:
        for name, spec in passes:
            bar.set_description(f"{name}: {spec.variant}, {spec.policy_name}")
            runs = []
            for sequence in prepared[name, spec.variant]:
                before = bar.n

                def show(number: int, _, before: int = before) -> None:
                    bar.update(before + number + 1 - bar.n)

                policy = spec.policy_for(sequence)
                if policy is not None:
                    tracker.set_policy(policy)
                runner = tracker if policy is not None else peers[spec.policy_name]
                runs.append(run_at(runner, sequence, spec.stream_hz, args.latency, show))
                bar.update(before + len(sequence) - bar.n)
            yield (name, spec), runs


def parts_of(sequence: Sequence, args: argparse.Namespace) -> list[Sequence]:
    """Return the parts of a sequence that ``--first`` and ``--starts`` choose."""
    return sequence.starts(args.starts, args.first) if args.starts > 1 else [sequence.head(args.first)]


def write_results(
    args: argparse.Namespace,
    sets: dict[str, Dataset],
    tracker: DyTracker,
    finished: Iterator[tuple[Pass, list[SequenceRun]]],
) -> dict:
    """Print each run's row as it is done, and write report, card and figures. Returns the report."""
    entries: dict[str, dict[str, Any]] = {
        name: {"name": name, "dataset": dataset.layout.name, "runs": []} for name, dataset in sets.items()
    }
    report = {
        "model": tracker.model_name,
        "engine": tracker.engine_name,
        "calibration": tracker.calibration_note,
        "sets": list(entries.values()),
    }
    print(f"{tracker.model_name} on {tracker.engine_name}")
    for (name, spec), runs in finished:
        dataset = sets[name]
        if not entries[name]["runs"]:
            tqdm.write(f"\n{name}: {dataset.description}\n{reports.HEADER}")
        entry = reports.report_entry(spec, runs, args.latency)
        entries[name]["runs"].append(entry)
        tqdm.write(reports.row(entry))
        if "budget" in entry:
            tqdm.write(reports.budget_note(entry["budget"]))
        if dataset.layout.absent_is_missed:
            tqdm.write(reports.absent_note(dataset.layout.name, entry["mean_missed_where_absent"]))
        sys.stdout.flush()
        if args.card and spec.stream_hz is None and spec.budget is None and not spec.is_peer:
            reports.add_to_card(args.card, spec.policy, entry, tracker.config, name if len(sets) > 1 else "")
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(reports.json_text(report) + "\n")
    if args.report:
        from dytrack_ros.evaluation.figures import write_figures  # here: only figures need Matplotlib

        for path in write_figures(args.report, report):
            print(f"wrote {path}")
    return report
