"""VOT's short-term and long-term sets with boxes or polygons: list.txt, NAME/groundtruth.txt, NAME/color/*.jpg."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dytrack_ros.data.layouts.files import Layout, first_frames, flags_in, images_in, names_in
from dytrack_ros.data.sequences import Sequence

REGION = "x, y, w, h or the corners x1, y1, x2, y2, ..."


def _recognises(folder: Path) -> bool:
    """By the list of sequences, or by a truth that no other layout has: corners, or masks."""
    if (folder / "list.txt").is_file():
        names = names_in(folder / "list.txt")
        return bool(names) and (folder / names[0] / "groundtruth.txt").is_file()
    return any(_is_region_of_vot(path) for path in folder.glob("*/groundtruth.txt"))


def _is_region_of_vot(truth_file: Path) -> bool:
    with truth_file.open() as lines:
        first = lines.readline()
    return first.startswith("m") or len(first.split(",")) >= 6


def _load(folder: Path) -> list[Sequence]:
    if (folder / "list.txt").is_file():
        return [_load_sequence(folder / name) for name in names_in(folder / "list.txt")]
    return [_load_sequence(path.parent) for path in sorted(folder.glob("*/groundtruth.txt"))]


def _load_sequence(folder: Path) -> Sequence:
    truth_file = folder / "groundtruth.txt"
    if not truth_file.is_file():
        raise FileNotFoundError(f"{truth_file} is missing: expected lines of {REGION}")
    truth = _read_regions(truth_file)
    images = folder / "color" if (folder / "color").is_dir() else folder
    frames = first_frames(images_in(images), len(truth), truth_file)
    return Sequence(folder.name, frames, truth, attributes=_tags(folder, len(truth)))


def _read_regions(path: Path) -> np.ndarray:
    """The upright boxes (N, 4) around the regions, NaN for those of a single number (VOT's special codes) and of NaN.

    Raises ValueError with the bad line; masks are none that can be read.
    """
    boxes = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        if line.startswith("m"):
            raise ValueError(
                f"{path}:{number}: the truth is a mask; only boxes and polygons can be read. VOT2019 and before have "
                "these, or convert the masks to boxes"
            )
        try:
            boxes.append(_upright([float(value) for value in line.split(",")]))
        except ValueError:
            raise ValueError(f"{path}:{number}: expected {REGION}, got {line!r}") from None
    truth = np.asarray(boxes, float).reshape(-1, 4)
    truth[~(truth[:, 2:] > 0).all(1)] = np.nan
    return truth


def _upright(values: list[float]) -> tuple[float, ...]:
    """The least upright box that holds a region. Raises ValueError for a number of values that no region has."""
    if len(values) == 1 or np.isnan(values).any():
        return (np.nan,) * 4
    if len(values) == 4:
        return tuple(values)
    if len(values) < 6 or len(values) % 2:
        raise ValueError
    left, right, top, bottom = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    return left, top, right - left, bottom - top


def _tags(folder: Path, count: int) -> tuple[str, ...]:
    """The tags (``NAME.tag``, earlier ``NAME.label``: a flag a frame) that hold in any frame."""
    files = sorted(path for suffix in ("tag", "label") for path in folder.glob(f"*.{suffix}"))
    return tuple(path.stem.replace("_", " ") for path in files if flags_in(path, count).any())


LAYOUTS = (
    Layout(
        "vot", "list.txt and NAME/{color/*.jpg or *.jpg, groundtruth.txt with boxes or polygons}", _recognises, _load
    ),
)  # fmt: skip
