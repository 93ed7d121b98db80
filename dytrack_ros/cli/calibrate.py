"""The command ``dytrack calibrate``: measure every exit on sequences and write the weights' calibration.

The calibration is a JSON file beside the weights, from which ``FrameBudget`` takes its thresholds.

Run it once per weights: of the machine only the ratios of the exits' costs matter."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.cli.command import command
from dytrack_ros.cli.options import load_sets, make_tracker, sequence_parser
from dytrack_ros.data.sequences import as_variant
from dytrack_ros.evaluation.analysis import sample_exits
from dytrack_ros.evaluation.threshold_search import (
    ExitSample,
    Mix,
    direct_path,
    family_of,
    knee,
    mean_iou_at_costs,
    quantile,
)
from dytrack_ros.model.weight_files import default_model, resolve_weights
from dytrack_ros.policies.calibration import Calibration, ExitMix, calibration_file
from dytrack_ros.utils import file_sha256


def parser() -> argparse.ArgumentParser:
    p = sequence_parser("calibrate", __doc__)
    p.add_argument("--seed", type=int, default=0, help="seed of the exits that the tracker follows")
    p.add_argument("--out", type=Path, help="file to write; default: beside the weights")
    p.add_argument(
        "--worth",
        type=float,
        default=0.02,
        help="mean IoU that the time of a frame at full depth must gain; sets the default thresholds",
    )
    return p


def held_out_iou(groups: Sequence[list[ExitSample]], costs: Sequence[float]) -> float:
    """Return the mean IoU over all mean costs, each half of the sequences with thresholds from the other half."""
    halves = [[sample for group in groups[start::2] for sample in group] for start in (0, 1)]
    return sum(
        mean_iou_at_costs(direct_path(fitted, costs), unseen, costs)
        for fitted, unseen in (halves, halves[::-1])
        if fitted and unseen
    ) / len(halves)


def exit_records(samples: Sequence[ExitSample], row: Mix) -> list[dict]:
    """Return for each exit its score quantiles and the mean IoU in each tenth of them.

    They count the frames that reach the exit with ``row``'s thresholds.
    """
    records, reached = [], list(samples)
    for position in range(len(row.shares)):
        ordered = sorted(reached, key=lambda sample: sample.scores[position])
        scores, ious = [s.scores[position] for s in ordered], [s.ious[position] for s in ordered]
        tenths = [ious[len(ious) * i // 10 : len(ious) * (i + 1) // 10] for i in range(10)]
        records.append(
            {
                "exit": position + 1,
                "reached": round(len(reached) / len(samples), 4),
                "mean_score": round(_mean(scores), 4),
                "mean_iou": round(_mean(ious), 4),
                "mean_iou_of_all_frames": round(_mean([s.ious[position] for s in samples]), 4),
                "score_quantiles": [round(quantile(scores, i / 10), 4) for i in range(11)] if scores else [],
                "mean_iou_by_tenth": [round(_mean(tenth), 4) for tenth in tenths],
            }
        )
        if position < len(row.thresholds):
            reached = [sample for sample in reached if sample.scores[position] <= row.thresholds[position]]
    return records


def _check_writable(file: Path) -> None:
    """Raise OSError for a file that cannot be written, before minutes of measuring."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a"):
        pass
    if not file.stat().st_size:
        file.unlink()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


@command("calibrate")
def main(argv: list[str] | None) -> int:
    args = parser().parse_args(argv)
    weights = resolve_weights(args.model or default_model())
    sequences = [sequence for dataset in load_sets(args).values() for sequence in dataset.sequences]
    if len(sequences) < 2:
        raise ValueError("--sequences has one sequence; thresholds are chosen on some and judged on others")
    path = args.out or calibration_file(weights)
    _check_writable(path)
    tracker = make_tracker(args, weights)
    costs = tracker.exit_costs().answers
    prepared = [as_variant(s, variant).head(args.first) for variant in args.variants for s in sequences]
    groups: list[list[ExitSample]] = []
    with tqdm(total=sum(map(len, prepared)), desc="every exit on every frame", unit="frame") as bar:
        for sequence in prepared:
            groups.append(sample_exits(tracker, sequence, args.seed, lambda: bar.update()))
    samples = [sample for group in groups for sample in group]
    if not all(groups[start::2] and any(groups[start::2]) for start in (0, 1)):
        print(
            "dytrack calibrate: no frames with a target in one half of the sequences: give more frames", file=sys.stderr
        )
        return 2
    held_out = held_out_iou(groups, costs)
    path_of_mixes = direct_path(samples, costs)
    family, rows = family_of(path_of_mixes, costs)
    chosen = knee(path_of_mixes, costs, args.worth)
    asked = tuple(min(max(tau, 0.0), 1.0) for tau in chosen.thresholds)
    even = min(rows, key=lambda row: max(row.shares) - min(row.shares))
    notes = {
        "model": weights.stem,
        "date": datetime.date.today().isoformat(),
        "command": "dytrack calibrate " + " ".join(argv if argv is not None else sys.argv[1:]),
        "frames": len(samples),
        "sequences": sorted({sequence.name for sequence in prepared}),
        "variants": args.variants,
        "relative_costs": [round(cost / costs[0], 3) for cost in costs],
        "held_out_mean_iou": round(held_out, 4),
        "worth": args.worth,
    }
    calibration = Calibration(
        file_sha256(weights),
        family,
        exit_records(samples, even),
        notes,
        asked,
        ExitMix(chosen.shares, chosen.iou),
        [ExitMix(row.shares, row.iou) for row in rows],
    )
    calibration.save(path)
    print(
        f"default thresholds {', '.join(f'{tau:.3f}' for tau in asked)}: mean IoU {chosen.iou:.4f} in "
        f"{chosen.cost / costs[-1]:.0%} of the time of full depth"
    )
    print(f"held-out mean IoU over all mean costs: {held_out:.4f}")
    print(f"wrote {path}: {len(rows)} rows from {len(samples)} frames of {len(prepared)} sequences")
    return 0
