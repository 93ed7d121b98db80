#!/usr/bin/env python3
"""Measure whether a target that disappears is reported LOST and found again, on sequences whose target is painted over.

    research/lost.py --data FOLDER

Every sequence runs at full depth without recovery (the paper's tracker), with recovery but without search, and with
both. Results go into a JSON file and a table.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dytrack_ros.data.sequences import Sequence, as_variant, load_sequences
from dytrack_ros.evaluation.report import json_text
from dytrack_ros.evaluation.run import SequenceRun, mean_over_sequences, run_sequence
from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker, RecoverySettings, StateThresholds, TrackerConfig, TrackState
from dytrack_ros.tracking.box import iou

RESULTS = Path(__file__).parent / "results" / "lost.json"
RECOVERIES = {"off": None, "where last seen": RecoverySettings(search=False), "whole image": RecoverySettings()}
GAP_FRAMES = 30
PERIOD_FRAMES = 100
FOUND_WITHIN_FRAMES = 30
FOUND_IOU = 0.5


@dataclass(frozen=True)
class OccludedSequence(Sequence):
    """A sequence whose target is painted over during ``gaps`` (first frame, end), with another part of the same frame.

    ``truth`` is NaN there; ``hidden_truth`` is not.
    """

    hidden_truth: np.ndarray | None = None
    gaps: tuple[tuple[int, int], ...] = ()

    def image(self, number: int) -> np.ndarray:
        image = super().image(number)
        if any(first <= number < end for first, end in self.gaps):
            paint_over(image, self.hidden_truth[number])
        return image


def with_gaps(sequence: Sequence) -> OccludedSequence:
    """Hide the target for 30 of every 100 frames; in a shorter sequence for its second quarter."""
    count = len(sequence)
    if count < PERIOD_FRAMES:
        gaps = ((count // 4, count // 2),)
    else:
        starts = range(PERIOD_FRAMES // 4, count - GAP_FRAMES - FOUND_WITHIN_FRAMES + 1, PERIOD_FRAMES)
        gaps = tuple((start, start + GAP_FRAMES) for start in starts)
    truth = sequence.truth.copy()
    for first, end in gaps:
        truth[first:end] = np.nan
    plain = {field.name: getattr(sequence, field.name) for field in fields(Sequence)}
    return OccludedSequence(**plain | {"truth": truth}, hidden_truth=sequence.truth, gaps=gaps)


def paint_over(image: np.ndarray, box: np.ndarray, margin: float = 0.15) -> None:
    """Cover ``box`` (x, y, w, h) and ``margin`` of its size around it with mirrored neighbouring pixels, in place."""
    height, width = image.shape[:2]
    x, y, w, h = box
    left, right = (int(np.clip(v, 0, width)) for v in (x - margin * w, x + (1 + margin) * w))
    top, bottom = (int(np.clip(v, 0, height)) for v in (y - margin * h, y + (1 + margin) * h))
    columns, rows = np.arange(left, right), np.arange(top, bottom)
    if not len(columns) or not len(rows):
        return
    # From the side with more room; at the image's border the mirror repeats.
    if max(left, width - right) >= max(top, height - bottom):
        columns = _mirrored(columns, left, right, width)
    else:
        rows = _mirrored(rows, top, bottom, height)
    image[top:bottom, left:right] = image[np.ix_(rows, columns)]


def _mirrored(positions: np.ndarray, low: int, high: int, length: int) -> np.ndarray:
    """Return positions outside [low, high) for those inside, mirrored at the side with more room to the border."""
    if low >= length - high:
        room = max(low, 1)
        return low - 1 - (positions - low) % room if low else np.zeros_like(positions)
    room = length - high
    return high + (high - 1 - positions) % room


def gap_summary(runs: Iterable[SequenceRun]) -> dict:
    """Summarise runs over :class:`OccludedSequence`.

    ``lost_auc`` is the area under the ROC curve of the score between frames without the target and frames with an IoU
    of at least 0.5. ``said_lost`` is the share of gaps that end in state LOST, ``false_finds`` the number of changes
    from LOST to another state within gaps, ``found_again`` the share of gaps followed by an IoU of 0.5 within 30
    frames, and ``frames_to_find`` the median number of frames until then.
    """
    with_target, without = [], []
    gaps = said_lost = false_finds = 0
    frames_to_find: list[int] = []
    for run in runs:
        sequence = run.sequence
        overlaps = np.array(
            [float(iou(box, truth)) for box, truth in zip(run.boxes, sequence.hidden_truth, strict=True)]
        )
        absent = np.isnan(sequence.truth).any(1)
        for number, result in enumerate(run.results, start=1):
            if absent[number]:
                without.append(result.score)
            elif overlaps[number] >= FOUND_IOU:
                with_target.append(result.score)
        for first, end in sequence.gaps:
            gaps += 1
            states = [result.state for result in run.results[first - 1 : end - 1]]
            said_lost += states[-1] == TrackState.LOST
            false_finds += sum(a == TrackState.LOST != b for a, b in itertools.pairwise(states))
            hits = np.flatnonzero(overlaps[end : end + FOUND_WITHIN_FRAMES] >= FOUND_IOU)
            if len(hits):
                frames_to_find.append(int(hits[0]) + 1)
    return {
        "gaps": gaps,
        "lost_auc": roc_auc(with_target, without),
        "said_lost": said_lost / gaps,
        "false_finds": false_finds,
        "found_again": len(frames_to_find) / gaps,
        "frames_to_find": float(np.median(frames_to_find)) if frames_to_find else float("nan"),
    }


def roc_auc(positives: Iterable[float], negatives: Iterable[float]) -> float:
    """Return the probability that a positive scores above a negative (ties count half); NaN without either kind."""
    positives, negatives = np.sort(np.fromiter(positives, float)), np.sort(np.fromiter(negatives, float))
    if not len(positives) or not len(negatives):
        return float("nan")
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return float(below.mean() / 2 / len(negatives))


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
    for name, settings in RECOVERIES.items():
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
