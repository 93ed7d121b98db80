"""Need for Speed (Galoogahi et al., ICCV 2017) at 30 frames a second: NAME/30/NAME/*.jpg, NAME/30/NAME.txt."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dytrack_ros.data.files import files_in, images_in, text_lines
from dytrack_ros.data.sequences import Layout, Sequence

FULL_RATE = 8  # frames at 240 Hz for each at 30 Hz
ROW = 'track x1 y1 x2 y2 frame lost occluded generated "label"'


def _recognises(folder: Path) -> bool:
    return bool(files_in(folder, "*/30/*.txt"))


def _load(folder: Path) -> list[Sequence]:
    return [_load_sequence(path) for path in files_in(folder, "*/30/*.txt")]


def _load_sequence(truth_file: Path) -> Sequence:
    """Takes every eighth row of an annotation at 240 Hz.

    Drops the one row or image that some sequences have too many.
    """
    frames, truth = images_in(truth_file.parent / truth_file.stem), _read_rows(truth_file)
    if abs(len(truth) / FULL_RATE - len(frames)) <= 1 < abs(len(truth) - len(frames)):
        truth = truth[::FULL_RATE]
    if abs(len(truth) - len(frames)) > 1:
        raise ValueError(f"{truth_file} has {len(truth)} rows for {len(frames)} images in {frames[0].parent}")
    count = min(len(truth), len(frames))
    return Sequence(truth_file.stem, frames[:count], truth[:count])


def _read_rows(path: Path) -> np.ndarray:
    """Boxes (N, 4) from corners as the annotation tool VATIC writes them; NaN where the target is lost."""
    boxes = []
    for number, line in text_lines(path, ROW):
        try:
            _, x1, y1, x2, y2, _, lost = (float(value) for value in line.split()[:7])
        except ValueError:
            raise ValueError(f"{path}:{number}: expected {ROW}, got {line!r}") from None
        is_there = not lost and x2 > x1 and y2 > y1
        boxes.append((x1, y1, x2 - x1, y2 - y1) if is_there else (np.nan,) * 4)
    return np.asarray(boxes, float).reshape(-1, 4)


LAYOUTS = (Layout("nfs", "NAME/30/NAME/*.jpg and NAME/30/NAME.txt (VATIC's rows)", _recognises, _load, 100),)
