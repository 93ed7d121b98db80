"""What the readers of all layouts share: a layout's description, lists of images, flags and names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dytrack_ros.data.sequences import IMAGE_SUFFIXES, Sequence, number_lines


@dataclass(frozen=True)
class Layout:
    """How a dataset lies in its folder.

    ``expected`` says in words what is looked for, ``recognises`` whether a folder seems to be one, ``load`` reads it.
    ``size`` is the number of sequences of the official set. ``attribute_names`` are the columns of the dataset's
    attribute files ``NAME.txt``, looked for in ``attribute_folders`` below its folder.
    """

    name: str
    expected: str
    recognises: Callable[[Path], bool]
    load: Callable[[Path], list[Sequence]]
    size: int | None = None
    attribute_names: tuple[str, ...] = ()
    attribute_folders: tuple[str, ...] = ()
    absent_is_missed: bool = False  # how the dataset's own toolkit counts frames without the target
    subset_note: str = ""  # what to do where there are more sequences than ``size``


def images_in(folder: Path) -> tuple[Path, ...]:
    """The images of a folder in the order of the numbers in their names. Raises FileNotFoundError if there is none."""
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES] if folder.is_dir() else []
    if not images:
        raise FileNotFoundError(f"{folder} has no images: expected {', '.join(sorted(IMAGE_SUFFIXES))} files there")
    return tuple(sorted(images, key=lambda path: (frame_number(path), path.name)))


def frame_number(path: Path) -> int:
    """The last number in a file's name; 0 if there is none."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else 0


def first_frames(frames: tuple[Path, ...], count: int, truth_file: Path) -> tuple[Path, ...]:
    """As many frames as there are boxes. Raises ValueError where there are fewer."""
    if len(frames) < count:
        raise ValueError(f"{truth_file} has {count} boxes, but {frames[0].parent} only {len(frames)} images")
    return frames[:count]


def flags_in(path: Path, count: int) -> np.ndarray:
    """``count`` numbers, on one line or a line each, as booleans: not 0. Raises FileNotFoundError or ValueError."""
    meaning = "a number a frame, 0 or not"
    values = [value for _, line in number_lines(path, meaning) for value in line]
    if len(values) != count:
        raise ValueError(f"{path} has {len(values)} flags for {count} frames")
    return np.asarray(values) != 0


def names_in(path: Path) -> list[str]:
    """The names in a list, one a line."""
    return path.read_text().split()


def first_box_only(truth: np.ndarray, count: int) -> np.ndarray:
    """(count, 4): the first box, then NaN."""
    padded = np.full((count, 4), np.nan)
    padded[0] = truth[0]
    return padded
