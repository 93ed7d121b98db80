"""The command ``evaluate``: success AUC and more, per exit and for the adaptive tracker, on folders of sequences."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.budget import ExitPolicy, FixedExit, FixedThresholds, RandomExit
from dytrack_ros.engines import ENGINES
from dytrack_ros.evaluation.datasets import VARIANTS, as_variant, load_sequences
from dytrack_ros.evaluation.run import mean_over_sequences, run_sequence
from dytrack_ros.tracking import DyTracker
from dytrack_ros.tracking.tracker import default_thresholds

ACCURACY_MEASURES = ("success_auc", "precision", "normalised_precision", "mean_score", "mean_iou")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="evaluate", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--data", required=True, help="folder of sequences: NAME/groundtruth.txt and NAME/img/*")
    p.add_argument("--model", help="shipped name or path of weights; the package's default if not given")
    p.add_argument("--engine", choices=ENGINES, default="auto")
    p.add_argument("--device", default="auto")
    p.add_argument("--threads", type=int)
    p.add_argument("--exits", default="1,2,3,adaptive", help="exits to hold, `adaptive` (thresholds), `random`")
    p.add_argument("--thresholds", type=float, nargs="+", help="tau_1 tau_2 ... of `adaptive`")
    p.add_argument("--variants", nargs="+", choices=VARIANTS, default=["standard"])
    p.add_argument("--frames", type=int, help="only this many first frames of each sequence")
    p.add_argument("--out", type=Path, help="write all figures, and every frame's box and scores, to this JSON file")
    p.add_argument("--card", type=Path, help="add the means to this model card (JSON), under `evaluation`")
    return p


def policies(spec: str, exit_count: int, thresholds: list[float] | None) -> dict[str, ExitPolicy]:
    """The policies that ``--exits`` names. Raises ValueError for a name that is none."""
    chosen: dict[str, ExitPolicy] = {}
    for name in spec.split(","):
        if name == "adaptive":
            chosen[name] = FixedThresholds(thresholds or default_thresholds(exit_count))
            if len(chosen[name].thresholds) != exit_count - 1:
                raise ValueError(f"--thresholds {thresholds} must be {exit_count - 1} numbers, one an exit but the last")
        elif name == "random":
            chosen[name] = RandomExit([1 / exit_count] * exit_count)
        elif name.isdigit() and 1 <= int(name) <= exit_count:
            chosen[f"exit {name}"] = FixedExit(int(name))
        else:
            raise ValueError(f"--exits {name!r} must be a number from 1 to {exit_count}, `adaptive` or `random`")
    return chosen


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.card and args.frames:
            raise ValueError("--card takes results of whole sequences only: leave out --frames")
        sequences = load_sequences(args.data)
        tracker = DyTracker.from_pretrained(args.model, args.engine, device=args.device, threads=args.threads)
        chosen = policies(args.exits, tracker.exit_count, args.thresholds)
    except (FileNotFoundError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    report = {"model": tracker.model_name, "engine": tracker.engine_name, "runs": []}
    print(f"{tracker.model_name} on {tracker.engine_name}, {len(sequences)} sequences")
    print(f"{'variant':12} {'exits':10} {'AUC':>6} {'P':>6} {'Pnorm':>6} {'score':>6} {'ms':>7}  exits taken")
    for variant in args.variants:
        prepared = [as_variant(sequence, variant).head(args.frames) for sequence in sequences]
        for name, policy in chosen.items():
            tracker.policy = policy
            summaries, traces = [], []
            with tqdm(total=sum(map(len, prepared)), desc=f"{variant}, {name}", unit="frame", leave=False) as bar:
                for sequence in prepared:
                    run = run_sequence(tracker, sequence, lambda *_, bar=bar: bar.update())
                    summaries.append(run.summary())
                    traces.append(run.trace())
            mean = mean_over_sequences(summaries)
            details = [summary | trace for summary, trace in zip(summaries, traces, strict=True)]
            report["runs"].append({"variant": variant, "policy": name, "mean": mean, "sequences": details})
            print(
                f"{variant:12} {name:10} {mean['success_auc']:6.3f} {mean['precision']:6.3f} "
                f"{mean['normalised_precision']:6.3f} {mean['mean_score']:6.3f} {mean['mean_ms']:7.1f}  {mean['exits']}",
                flush=True,
            )
            if args.out:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(report) + "\n")
            if args.card:
                add_to_card(args.card, variant, name, policy, mean)
    return 0


def add_to_card(card_file: Path, variant: str, policy_name: str, policy: ExitPolicy, mean: dict) -> None:
    """Puts one run's accuracy into a model card. Times stay out of it: they belong to a machine."""
    card = json.loads(card_file.read_text())
    accuracy = {measure: round(value, 4) for measure, value in mean.items() if measure in ACCURACY_MEASURES}
    if isinstance(policy, FixedThresholds):
        accuracy["thresholds"] = policy.thresholds
        accuracy["exits"] = mean["exits"]
    card.setdefault("evaluation", {}).setdefault(variant, {})[policy_name] = accuracy
    card_file.write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
