"""VOT's short-term and long-term sets with boxes or polygons: list.txt, NAME/groundtruth.txt, NAME/color/*.jpg."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dytrack_ros.data.files import (
    files_in,
    first_frames,
    flags_in,
    images_in,
    names_in,
    numbers_of,
    read_text,
    text_lines,
)
from dytrack_ros.data.sequences import Layout, Sequence

REGION = "x, y, w, h or the corners x1, y1, x2, y2, ..."


def _recognises(folder: Path) -> bool:
    """By the list of sequences, or by corners or masks in the truth, which no other layout has."""
    if (folder / "list.txt").is_file():
        names = names_in(folder / "list.txt")
        return bool(names) and (folder / names[0] / "groundtruth.txt").is_file()
    return any(_is_region_of_vot(path) for path in folder.glob("*/groundtruth.txt"))


def _is_region_of_vot(truth_file: Path) -> bool:
    first = read_text(truth_file).partition("\n")[0]
    return first.startswith("m") or len(first.split(",")) >= 6


def _load(folder: Path) -> list[Sequence]:
    if (folder / "list.txt").is_file():
        return [_load_sequence(folder / name) for name in names_in(folder / "list.txt")]
    return [_load_sequence(path.parent) for path in sorted(folder.glob("*/groundtruth.txt"))]


def _load_sequence(folder: Path) -> Sequence:
    truth_file = folder / "groundtruth.txt"
    truth = _read_regions(truth_file)
    images = folder / "color" if (folder / "color").is_dir() else folder
    frames = first_frames(images_in(images), len(truth), truth_file)
    return Sequence(folder.name, frames, truth, attributes=_tags(folder, len(truth)))


def _read_regions(path: Path) -> np.ndarray:
    """Upright boxes (N, 4) around the regions; NaN for a region of one number (VOT's special codes) or with a NaN.

    Raises ValueError with the bad line; masks cannot be read.
    """
    boxes = []
    for number, line in text_lines(path, REGION):
        if line.startswith("m"):
            raise ValueError(
                f"{path}:{number}: the truth is a mask; only boxes and polygons can be read. VOT2019 and before have "
                "these, or convert the masks to boxes"
            )
        try:
            boxes.append(_upright(numbers_of(line)))
        except ValueError:
            raise ValueError(f"{path}:{number}: expected {REGION}, got {line!r}") from None
    truth = np.asarray(boxes, float).reshape(-1, 4)
    truth[~(truth[:, 2:] > 0).all(1)] = np.nan
    return truth


def _upright(values: list[float]) -> tuple[float, float, float, float]:
    """The smallest upright box around a region. Raises ValueError if no region has that number of values."""
    if len(values) == 1 or np.isnan(values).any():
        return np.nan, np.nan, np.nan, np.nan
    if len(values) == 4:
        return values[0], values[1], values[2], values[3]
    if len(values) < 6 or len(values) % 2:
        raise ValueError
    left, right, top, bottom = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    return left, top, right - left, bottom - top


def _tags(folder: Path, count: int) -> tuple[str, ...]:
    """The tags (``NAME.tag``, earlier ``NAME.label``: a flag a frame) that hold in any frame."""
    files = sorted(path for suffix in ("tag", "label") for path in files_in(folder, f"*.{suffix}"))
    return tuple(path.stem.replace("_", " ") for path in files if flags_in(path, count).any())


LAYOUTS = (
    Layout(
        "vot", "list.txt and NAME/{color/*.jpg or *.jpg, groundtruth.txt with boxes or polygons}", _recognises, _load
    ),
)  # fmt: skip
