"""Sequences with a box a frame, and the hard variants of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
VARIANTS = ("standard", "skip3", "small", "skip3_small")
SMALL_SIDE_PX = 32.0
SKIP = 3


@dataclass(frozen=True)
class Sequence:
    """``frames`` are image files, ``truth`` (N, 4) boxes (x, y, w, h) in pixels of the image shown, NaN where the
    target is absent. Images are shrunk by ``scale`` (0 < scale <= 1) when read."""

    name: str
    frames: tuple[Path, ...]
    truth: np.ndarray
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, number: int) -> np.ndarray:
        """The frame as BGR uint8 (H, W, 3). Raises ValueError if the file is no image."""
        image = cv2.imread(str(self.frames[number]), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{self.frames[number]} is not a readable image")
        if self.scale == 1:
            return image
        return cv2.resize(image, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)

    def images(self) -> Iterator[np.ndarray]:
        return (self.image(number) for number in range(len(self)))

    def head(self, count: int | None) -> Sequence:
        return replace(self, frames=self.frames[:count], truth=self.truth[:count])


def read_truth(path: Path) -> np.ndarray:
    """A box a line, separated by commas, tabs or spaces; ``nan`` = absent. Raises ValueError with the bad line."""
    boxes = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        values = line.replace(",", " ").split()
        if not values:
            continue
        try:
            box = [float(value) for value in values]
        except ValueError:
            box = []
        if len(box) != 4:
            raise ValueError(f"{path}:{number}: expected x, y, w, h, got {line!r}")
        boxes.append(box)
    return np.asarray(boxes, float).reshape(-1, 4)


def load_sequence(folder: str | Path) -> Sequence:
    """A folder with ``groundtruth.txt`` and the images, in it or in ``img/``, in the order of their names.

    Raises FileNotFoundError without truth, ValueError where images and boxes differ in number or the first is absent.
    """
    folder = Path(folder)
    truth_file = folder / "groundtruth.txt"
    if not truth_file.is_file():
        raise FileNotFoundError(f"{folder} has no groundtruth.txt")
    images = folder / "img" if (folder / "img").is_dir() else folder
    frames = tuple(sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES))
    truth = read_truth(truth_file)
    if len(frames) != len(truth):
        raise ValueError(f"{folder} has {len(frames)} images but {len(truth)} boxes")
    if not len(truth) or np.isnan(truth[0]).any():
        raise ValueError(f"{folder}: the first frame needs a box, for the tracker starts there")
    return Sequence(folder.name, frames, truth)


def load_sequences(folder: str | Path) -> list[Sequence]:
    """All sequences below ``folder``, by name. Raises FileNotFoundError if there is none."""
    folders = sorted(path.parent for path in Path(folder).glob("*/groundtruth.txt"))
    if not folders:
        raise FileNotFoundError(f"no sequences in {folder}: expected NAME/groundtruth.txt and NAME/img/*")
    return [load_sequence(path) for path in folders]


def as_variant(sequence: Sequence, variant: str) -> Sequence:
    """``skip3``: every third frame. ``small``: shrunk until the first box's side sqrt(w * h) is 32 px."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there are {', '.join(VARIANTS)}")
    if variant.startswith("skip3"):
        sequence = replace(sequence, frames=sequence.frames[::SKIP], truth=sequence.truth[::SKIP])
    if variant.endswith("small"):
        _, _, w, h = sequence.truth[0]
        scale = min(SMALL_SIDE_PX / math.sqrt(w * h), 1.0)
        sequence = replace(sequence, truth=sequence.truth * scale, scale=scale)
    return sequence
