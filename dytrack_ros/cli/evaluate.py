"""The command ``evaluate``: success AUC and more, per exit and for adaptive policies, on the field's datasets and on plain
folders of sequences, offline and in streams that do not wait for the tracker."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from concurrent.futures import BrokenExecutor
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.data.registry import Dataset, load_dataset
from dytrack_ros.data.sequences import FULL, INITS, Sequence, as_variant
from dytrack_ros.evaluation import submission, table
from dytrack_ros.evaluation.breakdown import difficulty_entry, levels_by_sequence
from dytrack_ros.evaluation.execution import TrackerRecipe, Work, run_here, run_in_processes
from dytrack_ros.evaluation.kept_runs import KeptRuns
from dytrack_ros.evaluation.options import command_parser
from dytrack_ros.evaluation.plan import CAMERA, OFFLINE, DifficultyPass, PlannedRun, difficulty_passes, plan
from dytrack_ros.evaluation.report import add_to_card, json_text, report_entry
from dytrack_ros.model.weight_files import default_model, resolve_weights
from dytrack_ros.policies.exit_trust import IMPATIENCE, RATE
from dytrack_ros.tracking import DyTracker
from dytrack_ros.utils import file_sha256
from dytrack_ros.version import __version__


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


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def parser() -> argparse.ArgumentParser:
    p = command_parser("evaluate", __doc__)
    p.add_argument("--attributes", type=Path, metavar="FOLDER",
                   help="the dataset's attribute files, where they do not lie in its folder")  # fmt: skip
    p.add_argument("--exits", default="1,2,3,adaptive",
                   help="exits to hold, `adaptive` (thresholds), `random`; or `none`")  # fmt: skip
    p.add_argument("--thresholds", type=float, nargs="+", help="tau_1 tau_2 ... of `adaptive`")
    p.add_argument("--trust", type=float, nargs=2, metavar=("RATE", "IMPATIENCE"), default=[0.0, 0.0],
                   help="shift the thresholds of `adaptive`, then called `trusting`, by what each target has shown of the exits: "
                        f"exit.trust_rate and exit.impatience of the node, such as {RATE} {IMPATIENCE}")  # fmt: skip
    p.add_argument("--init", choices=INITS, nargs="+", default=[FULL],
                   help="start with the whole first box, with half or with a quarter of it")  # fmt: skip
    p.add_argument("--levels", action="store_true",
                   help="also take every exit on every frame once, and show all runs by the frames' difficulty: the IoU "
                        "of exit 1")  # fmt: skip
    p.add_argument("--budget-ms", type=budget, nargs="+", default=[], metavar="MS",
                   help="also run with these mean times a frame; `camera`: the stream's period")  # fmt: skip
    p.add_argument("--deadline-ms", type=positive, metavar="MS", help="longest time a frame of these budgets")
    p.add_argument("--stream", type=rate, nargs="+", default=[OFFLINE], metavar="HZ",
                   help="frames a second of a stream, counting the frames that the variant shows; `offline`: every "
                        "frame waits for the tracker")  # fmt: skip
    p.add_argument("--latency", type=share, default=0.0, metavar="SIGMA",
                   help="how long after its arrival a frame of a stream is judged, in frames (sigma of e-LAE)")  # fmt: skip
    p.add_argument("--jobs", type=at_least_one, default=1, metavar="N",
                   help="sequences at a time, each in a process of its own; times a frame then mean little")  # fmt: skip
    p.add_argument("--results", type=Path, metavar="FOLDER",
                   help="keep each sequence's results here as soon as it is done; the same command goes on from "
                        "there")  # fmt: skip
    p.add_argument("--submission", type=Path, metavar="FOLDER",
                   help="write a zip for the server of GOT-10k's or TrackingNet's test set, one for each run")  # fmt: skip
    p.add_argument("--report", type=Path, metavar="FOLDER",
                   help="write report.html with the paper's figures, drawn from these runs")  # fmt: skip
    p.add_argument("--out", type=Path, help="write all figures, and every frame's box and scores, to this JSON file")
    p.add_argument("--card", type=Path,
                   help="add the means and calibration errors of offline runs without a budget to this model card (JSON)")  # fmt: skip
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.card and args.frames:
            raise ValueError("--card takes results of whole sequences only: leave out --frames")
        dataset = load_dataset(args.data, args.dataset, args.attributes)
        check_judged(args, dataset)
        if args.report:
            check_report(args.report)
        weights = resolve_weights(args.model or default_model())
        recipe = TrackerRecipe.of(args, weights).shared_by(args.jobs)
        tracker = recipe.make()
        first_exit_s = tracker.exit_costs().answer(1) if CAMERA in args.budget_ms else 0.0
        planned_runs = plan(args, tracker.exit_count, first_exit_s)
    except (OSError, ImportError, ValueError) as error:
        print(f"dytrack evaluate: {error}", file=sys.stderr)
        return 2
    passes = [*(difficulty_passes(planned_runs) if args.levels else []), *planned_runs]
    works = [Work(each, prepared(dataset.sequences, each.variant, each.init, args.frames)) for each in passes]
    kept = KeptRuns(args.results, settings(args, dataset, weights, tracker))
    if args.jobs == 1:
        finished = run_here(tracker, works, kept, args.latency)
    else:
        finished = run_in_processes(recipe, args.jobs, works, kept, args.latency)

    report = {
        "model": tracker.model_name, "engine": tracker.engine_name, "calibration": tracker.calibration_note,
        "dataset": dataset.layout.name, "jobs": args.jobs, "runs": [], "difficulty": [],
    }  # fmt: skip
    print(f"{tracker.model_name} on {tracker.engine_name}; {dataset.description}")
    print(table.HEADER)
    levels = {}
    try:
        for work, runs in finished:
            planned = work.planned
            start = (planned.variant, planned.init)
            if isinstance(planned, DifficultyPass):
                levels[start] = levels_by_sequence(runs)
                report["difficulty"].append({"variant": start[0], "init": start[1], **difficulty_entry(runs)})
            else:
                entry = report_entry(planned, runs, args.latency, levels.get(start))
                report["runs"].append(entry)
                show_run(planned, entry, dataset)
                take_home(args, planned, entry, runs, dataset)
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json_text(report) + "\n")
        if args.report:
            written = draw(args.report, report, works, weights)
    except (OSError, ValueError, BrokenExecutor) as error:
        print(f"dytrack evaluate: {error}", file=sys.stderr)
        return 2
    for text in (table.attribute_table(report["runs"]), table.level_table(report["runs"], report["difficulty"])):
        if text:
            print(text)
    if args.report:
        print(f"wrote {written}")
    return 0


def check_judged(args: argparse.Namespace, dataset: Dataset) -> None:
    """Raises ValueError for options that need a truth that is not known, or none."""
    if args.submission:
        submission.check_options(args, dataset.layout.name)
    needs_truth = args.levels or args.card or args.report
    if needs_truth and not all(sequence.is_judged for sequence in dataset.sequences):
        raise ValueError(
            f"--levels, --card and --report need the truth, but {dataset.layout.name}'s is known to its server alone"
        )


def check_report(folder: Path) -> None:
    """Now, not after hours of tracking. Raises ImportError without Matplotlib, OSError for a folder that cannot be made."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("--report draws with Matplotlib, which is not installed: pip install matplotlib")
    folder.mkdir(parents=True, exist_ok=True)


def draw(folder: Path, report: dict, works: list[Work], weights: Path) -> Path:
    # Here, since Matplotlib is needed for nothing else.
    from dytrack_ros.evaluation.figures.page import write_report

    sequences = {(work.planned.variant, work.planned.init): work.sequences for work in works}
    return write_report(folder, report, sequences, weights)


def prepared(sequences: list[Sequence], variant: str, init: str, frames: int | None) -> list[Sequence]:
    return [as_variant(sequence, variant).started_with(init).head(frames) for sequence in sequences]


def settings(args: argparse.Namespace, dataset: Dataset, weights: Path, tracker: DyTracker) -> dict:
    """What every result depends on."""
    return {
        "version": __version__,
        "weights": file_sha256(weights) if args.results else None,
        "engine": tracker.engine_name,
        "dataset": dataset.layout.name,
        "data": str(dataset.folder.resolve()),
        "frames": args.frames,
        "init_correction": args.init_correction,
        "latency": args.latency,
    }


def show_run(planned: PlannedRun, entry: dict, dataset: Dataset) -> None:
    tqdm.write(table.row(planned, entry["mean"]))
    if planned.budget:
        tqdm.write(table.budget_note(entry["budget"]))
    if dataset.layout.absent_is_missed:
        tqdm.write(table.absent_note(dataset.layout.name, entry["mean_missed_where_absent"]))
    sys.stdout.flush()


def take_home(args: argparse.Namespace, planned: PlannedRun, entry: dict, runs: list, dataset: Dataset) -> None:
    """Model card and submission, as far as they are asked for and this run belongs there."""
    if args.card and planned.stream_hz is None and planned.budget is None and planned.init == FULL:
        add_to_card(args.card, planned.policy, entry, args.init_correction)
    if args.submission:
        path = submission.write_submission(args.submission, dataset.layout.name, planned.policy_name, runs)
        tqdm.write(f"  wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
