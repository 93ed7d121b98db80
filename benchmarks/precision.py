#!/usr/bin/env python3
"""Measure the differences of an engine's answers from PyTorch in fp32, on real search regions.

    benchmarks/precision.py --data FOLDER [--engine openvino] [--precision auto] [--model NAME] [--every 10]

Every n-th frame of each sequence, cut around the true box of the frame before, goes through both engines at every exit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.data.sequences import load_sequences
from dytrack_ros.engines import ENGINE_PRECISIONS, create_engine
from dytrack_ros.model.weight_files import default_model
from dytrack_ros.tracking.crop import CropWindow, cut_template

RESULTS = Path(__file__).parent / "results" / "precision.json"
BOX_LIMIT_PX, SCORE_LIMIT = 0.5, 0.01


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="folder of sequences: NAME/groundtruth.txt and NAME/img/*")
    p.add_argument("--model", default=default_model())
    p.add_argument("--engine", default="openvino")
    p.add_argument("--precision", choices=ENGINE_PRECISIONS, default="auto", help="of the engine")
    p.add_argument("--every", type=int, default=10)
    p.add_argument("--results", type=Path, default=RESULTS)
    args = p.parse_args()

    reference = create_engine("torch", args.model, "cpu")
    engine = create_engine(args.engine, args.model, "cpu", precision=args.precision)
    differences = [[] for _ in range(engine.exit_count)]
    for sequence in tqdm(load_sequences(args.data), desc="sequences"):
        template = cut_template(sequence.image(0), sequence.truth[0], engine)
        for each in (reference, engine):
            each.set_template(template)
        for number in range(1, len(sequence), args.every):
            if np.isnan(sequence.truth[number - 1]).any():
                continue
            window = CropWindow.around(sequence.truth[number - 1], engine.search_factor)
            search = window.cut(sequence.image(number), engine.search_size)
            for each in (reference, engine):
                each.begin(search)
            for position in range(engine.exit_count):
                scores = [each.advance() for each in (reference, engine)]
                boxes = [each.locate() for each in (reference, engine)]
                box_px = float(np.abs(boxes[0] - boxes[1]).max()) * engine.search_size
                differences[position].append((box_px, abs(scores[0] - scores[1])))

    report = {"engine": args.engine, "precision": args.precision, "model": Path(args.model).stem}
    report |= {"machine": machine_facts(), "exits": []}
    print(f"{args.engine} against torch fp32, {report['model']}, {len(differences[0])} search regions")
    print(f"| exit | box within {BOX_LIMIT_PX} px | 99 % within | score within {SCORE_LIMIT} | 99 % within |")
    print("|---|---|---|---|---|")
    for position, pairs in enumerate(differences, start=1):
        box_px, score = np.array(pairs).T
        entry = {
            "crops": len(box_px),
            "boxes_within": float((box_px <= BOX_LIMIT_PX).mean()),
            "box_p99_px": float(np.percentile(box_px, 99)),
            "scores_within": float((score <= SCORE_LIMIT).mean()),
            "score_p99": float(np.percentile(score, 99)),
        }
        report["exits"].append(entry)
        print(
            f"| {position} | {entry['boxes_within']:.1%} | {entry['box_p99_px']:.2f} px | "
            f"{entry['scores_within']:.1%} | {entry['score_p99']:.4f} |"
        )
    args.results.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
