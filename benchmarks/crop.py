#!/usr/bin/env python3
"""Measure the search crop, from image message to RGB: converting the crop only, or the whole frame first.

    benchmarks/crop.py                # a table, and benchmarks/results/crop.json

The first converts the frame to BGR and then cuts; the second cuts from the message's bytes and converts the crop. Both
take turns on the same messages, so that load affects both alike: compare them within one run only. Several messages
take turns, because a frame just received is not in the processor's caches either.
"""

from __future__ import annotations

import argparse
import array
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import cv2
import numpy as np
from tqdm import tqdm

from dytrack_ros.benchmark.machine import machine_facts
from dytrack_ros.nodes.images import open_image, to_bgr
from dytrack_ros.tracking.crop import CropWindow

RESULTS = Path(__file__).parent / "results" / "crop.json"
FRAMES = ((640, 480), (1280, 720), (1920, 1080))
BYTES_PER_PIXEL = {"bgr8": 3, "rgb8": 3, "yuyv": 2, "nv12": 1.5, "bayer_rggb8": 1, "mono16": 2}
# Sides of targets in pixels: the median of common benchmarks, that of the development sequences, and (None) the frame's
# height, whose window is larger than the frame.
TARGETS = {"small": 52, "medium": 118, "huge": None}
SEARCH_FACTOR, SEARCH_SIZE = 4.0, 256
MESSAGES = 4
WARM_UP = 5


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--repeats", type=int, default=100, help="measured crops of each kind (default: %(default)s)")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


def messages(encoding: str, width: int, height: int) -> list[SimpleNamespace]:
    """Images of noise with the fields of sensor_msgs/Image; rows are not padded."""
    noise = np.random.default_rng(0)
    row_count = height * 3 // 2 if encoding == "nv12" else height
    step = round(width * height * BYTES_PER_PIXEL[encoding]) // row_count
    return [
        SimpleNamespace(
            encoding=encoding,
            width=width,
            height=height,
            step=step,
            is_bigendian=0,
            data=array.array("B", noise.integers(0, 256, row_count * step, np.uint8).tobytes()),
        )
        for _ in range(MESSAGES)
    ]


def whole_frame_first(message, window: CropWindow) -> np.ndarray:
    return window.cut(to_bgr(message), SEARCH_SIZE)


def crop_alone(message, window: CropWindow) -> np.ndarray:
    return window.cut(open_image(message), SEARCH_SIZE)


def measure(encoding: str, width: int, height: int, target: str, repeats: int) -> dict:
    side = TARGETS[target] or height
    window = CropWindow.around((width / 2 - side / 2 + 0.3, height / 2 - side / 2 + 0.4, side, side), SEARCH_FACTOR)
    frames = messages(encoding, width, height)
    seconds: dict[Callable, list[float]] = {whole_frame_first: [], crop_alone: []}
    for number in range(WARM_UP + repeats):
        for way, taken in seconds.items():
            started = time.perf_counter()
            way(frames[number % MESSAGES], window)
            taken.append(time.perf_counter() - started)
    figures = {
        way.__name__: {
            "median_ms": round(1e3 * median(taken[WARM_UP:]), 4),
            "min_ms": round(1e3 * min(taken[WARM_UP:]), 4),
        }
        for way, taken in seconds.items()
    }
    return {
        "encoding": encoding,
        "frame": [width, height],
        "target": target,
        "target_px": side,
        "window_px": window.side,
        **figures,
    }


def show(cases: list[dict]) -> None:
    """A row an encoding and target: milliseconds, median (least), of both ways for each frame size, and how many times
    as long as on the smallest frame the new way takes on the largest (least to least)."""
    print(f"{'':20}" + "".join(f"{f'{width}x{height}: old':>20}{'new':>14}" for width, height in FRAMES) + "   growth")
    rows: dict[tuple[str, str], list[dict]] = {}
    for case in cases:
        rows.setdefault((case["encoding"], case["target"]), []).append(case)
    for (encoding, target), row in rows.items():
        cells = "".join(
            f"{case[way]['median_ms']:{columns}.2f} ({case[way]['min_ms']:.2f})"
            for case in row
            for way, columns in (("whole_frame_first", 13), ("crop_alone", 7))
        )
        least = [case["crop_alone"]["min_ms"] for case in row]
        print(f"{encoding:12}{target:8}{cells}{least[-1] / least[0]:8.2f}x")


def main() -> None:
    args = parser().parse_args()
    plan = [(encoding, *frame, target) for encoding in BYTES_PER_PIXEL for target in TARGETS for frame in FRAMES]
    cases = [measure(*case, args.repeats) for case in tqdm(plan, unit="case")]
    show(cases)
    results = {
        "machine": machine_facts(),
        "opencv_threads": cv2.getNumThreads(),
        "repeats": args.repeats,
        "crop_px": SEARCH_SIZE,
        "cases": cases,
    }
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
