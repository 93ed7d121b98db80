"""The command ``dytrack evaluate``: success AUC and more on sets of sequences, for each exit and for adaptive policies,
offline and in streams that do not wait for the tracker, beside OpenCV's trackers if asked for."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dytrack_ros.benchmark.peers import add_peer_options, start_peers
from dytrack_ros.cli.options import load_sets, sequence_parser
from dytrack_ros.cli.types import at_least_one, below_one, positive
from dytrack_ros.data.registry import Dataset
from dytrack_ros.data.sequences import FULL, INITS, Sequence, as_variant
from dytrack_ros.evaluation import report as reports
from dytrack_ros.evaluation import submission
from dytrack_ros.evaluation.analysis import difficulty_entry, levels_by_sequence
from dytrack_ros.evaluation.execution import RunPeer, TrackerRecipe, Work, run_here, run_in_processes
from dytrack_ros.evaluation.result_cache import ResultCache
from dytrack_ros.evaluation.run_matrix import CAMERA, AllExitsSpec, RunSpec, all_exits_specs, run_matrix
from dytrack_ros.evaluation.streaming import run_at
from dytrack_ros.model.weight_files import default_model, resolve_weights
from dytrack_ros.policies.exit_trust import IMPATIENCE, RATE
from dytrack_ros.tracking import DyTracker
from dytrack_ros.utils import file_sha256
from dytrack_ros.version import __version__


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
    p.add_argument("--thresholds", type=float, nargs="+", help="tau_1 tau_2 ... of `adaptive`")
    p.add_argument(
        "--trust",
        type=float,
        nargs=2,
        metavar=("RATE", "IMPATIENCE"),
        default=[0.0, 0.0],
        help="adapt the thresholds of `adaptive`, then called `trusting`, to each target: exit.trust_rate and "
        f"exit.impatience of the node, such as {RATE} {IMPATIENCE}",
    )
    p.add_argument(
        "--init",
        choices=INITS,
        nargs="+",
        default=[FULL],
        help="initialise with the whole first box, with half or with a quarter of it",
    )
    p.add_argument(
        "--levels",
        action="store_true",
        help="also run every exit on every frame and break all runs down by difficulty: the IoU of exit 1",
    )
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
    add_peer_options(p)
    p.add_argument(
        "--jobs",
        type=at_least_one,
        default=1,
        metavar="N",
        help="sequences at a time, each in its own process; times a frame are then not comparable",
    )
    p.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="cache each sequence's results here; the same command continues from there",
    )
    p.add_argument(
        "--submission",
        type=Path,
        metavar="FOLDER",
        help="write a zip of each run for the server of GOT-10k's or TrackingNet's test set",
    )
    p.add_argument(
        "--report",
        type=Path,
        metavar="FOLDER",
        help="write report.html with the paper's figures, drawn from these runs",
    )
    p.add_argument("--out", type=Path, help="write all figures, and every frame's box and scores, to this JSON file")
    p.add_argument(
        "--card",
        type=Path,
        help="write accuracy and calibration errors of offline runs without a budget to this model card (JSON)",
    )
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    with contextlib.ExitStack() as processes:
        try:
            if args.card and args.first:
                raise ValueError("--card takes results of whole sequences only: leave out --first")
            sets = load_sets(args, args.attributes)
            check_options(args, sets)
            weights = resolve_weights(args.model or default_model())
            recipe = TrackerRecipe.of(args, weights).shared_by(args.jobs)
            tracker = recipe.make()
            peers: dict[str, RunPeer] = {
                name: partial(worker.ask, "run", run_at) for name, worker in start_peers(args, processes).items()
            }
            works = planned_works(args, sets, weights, tracker, list(peers))
        except (OSError, ImportError, ValueError, RuntimeError) as error:
            print(f"dytrack evaluate: {error}", file=sys.stderr)
            return 2
        try:
            finished = run_works(args, recipe, tracker, works, peers)
            report = write_results(args, sets, weights, tracker, works, finished)
        except (OSError, ValueError, RuntimeError, BrokenExecutor) as error:
            print(f"dytrack evaluate: {error}", file=sys.stderr)
            return 2
    for each in report["sets"]:
        for text in (reports.attribute_table(each["runs"]), reports.level_table(each["runs"], each["difficulty"])):
            if text:
                print(f"\n{each['name']}{text}")
    if text := reports.sets_table(report["sets"]):
        print(text)
    return 0


def check_options(args: argparse.Namespace, sets: dict[str, Dataset]) -> None:
    """Check before hours of tracking what cannot be done afterwards.

    Raises ValueError for options that need an unknown ground truth, ImportError for --report without Matplotlib,
    OSError for a report folder that cannot be made.
    """
    if args.submission:
        if len(sets) > 1:
            raise ValueError("--submission takes one set at a time")
        submission.check_options(args, *(dataset.layout.name for dataset in sets.values()))
    if args.levels or args.card or args.report:
        for dataset in sets.values():
            if not all(sequence.is_judged for sequence in dataset.sequences):
                name = dataset.layout.name
                raise ValueError(f"--levels, --card and --report need the truth, but only {name}'s server has it")
    if args.report:
        if importlib.util.find_spec("matplotlib") is None:
            raise ImportError("--report draws with Matplotlib, which is not installed: pip install matplotlib")
        args.report.mkdir(parents=True, exist_ok=True)


def planned_works(
    args: argparse.Namespace, sets: dict[str, Dataset], weights: Path, tracker: DyTracker, peers: list[str]
) -> list[Work]:
    """Return every pass over every set. Raises ValueError for options that contradict each other."""
    first_exit_s = tracker.exit_costs().answer(1) if CAMERA in args.budget_ms else 0.0
    works = []
    for name, dataset in sets.items():
        specs = run_matrix(args, tracker.exit_count, first_exit_s, peers)
        cache = ResultCache(args.results, settings(args, dataset, weights, tracker))
        passes: list[RunSpec | AllExitsSpec] = [*(all_exits_specs(specs) if args.levels else []), *specs]
        for spec in passes:
            sequences = [prepared(sequence, spec.variant, spec.init, args.first) for sequence in dataset.sequences]
            works.append(Work(spec, sequences, cache, name))
    return works


def prepared(sequence: Sequence, variant: str, init: str, first: int | None) -> Sequence:
    return as_variant(sequence, variant).started_with(init).head(first)


def settings(args: argparse.Namespace, dataset: Dataset, weights: Path, tracker: DyTracker) -> dict:
    """Return everything that the results on a set depend on, apart from the run."""
    return {
        "version": __version__,
        "weights": file_sha256(weights) if args.results else None,
        "engine": tracker.engine_name,
        "dataset": dataset.layout.name,
        "data": str(dataset.folder.resolve()),
        "frames": args.first,
        "init_correction": args.init_correction,
        "latency": args.latency,
    }


def run_works(
    args: argparse.Namespace, recipe: TrackerRecipe, tracker: DyTracker, works: list[Work], peers: dict[str, RunPeer]
) -> Iterator[tuple[Work, list]]:
    if args.jobs == 1:
        return run_here(tracker, works, args.latency, peers)
    return run_in_processes(recipe, args.jobs, works, args.latency, peers)


def write_results(
    args: argparse.Namespace,
    sets: dict[str, Dataset],
    weights: Path,
    tracker: DyTracker,
    works: list[Work],
    finished: Iterator[tuple[Work, list]],
) -> dict:
    """Print each run's row as it is done, and write report, card and submission. Returns the report."""
    entries: dict[str, dict[str, Any]] = {
        name: {"name": name, "dataset": dataset.layout.name, "runs": [], "difficulty": []}
        for name, dataset in sets.items()
    }
    report = {
        "model": tracker.model_name,
        "engine": tracker.engine_name,
        "calibration": tracker.calibration_note,
        "jobs": args.jobs,
        "sets": list(entries.values()),
    }
    print(f"{tracker.model_name} on {tracker.engine_name}")
    levels: dict[tuple[str, str], dict] = {}
    shown = None
    for work, runs in finished:
        spec, dataset, entry_of_set = work.spec, sets[work.set_name], entries[work.set_name]
        if work.set_name != shown:
            shown = work.set_name
            levels.clear()
            tqdm.write(f"\n{shown}: {dataset.description}\n{reports.HEADER}")
        start = (spec.variant, spec.init)
        if isinstance(spec, AllExitsSpec):
            levels[start] = levels_by_sequence(runs)
            entry_of_set["difficulty"].append({"variant": start[0], "init": start[1], **difficulty_entry(runs)})
        else:
            entry = reports.report_entry(spec, runs, args.latency, levels.get(start))
            entry_of_set["runs"].append(entry)
            show_run(entry, dataset)
            store_run(args, spec, entry, runs, dataset, shown if len(sets) > 1 else "")
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(reports.json_text(report) + "\n")
    if args.report:
        from dytrack_ros.evaluation.figures.page import write_report  # here: only figures need Matplotlib

        sequences = {(work.set_name, work.spec.variant, work.spec.init): work.sequences for work in works}
        print(f"wrote {write_report(args.report, report, sequences, weights)}")
    return report


def show_run(entry: dict, dataset: Dataset) -> None:
    tqdm.write(reports.row(entry))
    if "budget" in entry:
        tqdm.write(reports.budget_note(entry["budget"]))
    if dataset.layout.absent_is_missed:
        tqdm.write(reports.absent_note(dataset.layout.name, entry["mean_missed_where_absent"]))
    sys.stdout.flush()


def store_run(
    args: argparse.Namespace, spec: RunSpec, entry: dict, runs: list, dataset: Dataset, set_name: str
) -> None:
    """Write the run into the model card and the submission, if asked for and if the run belongs there."""
    is_plain = spec.stream_hz is None and spec.budget is None and spec.init == FULL and not spec.is_peer
    if args.card and is_plain:
        reports.add_to_card(args.card, spec.policy, entry, args.init_correction, set_name)
    if args.submission:
        path = submission.write_submission(args.submission, dataset.layout.name, spec.policy_name, runs)
        tqdm.write(f"  wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
