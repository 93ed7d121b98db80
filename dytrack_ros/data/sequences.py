"""Sequences with a box a frame, their hard variants, and starts from a part of the target."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dytrack_ros.tracking.box import MIN_INIT_SIDE_PX

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VARIANTS = ("standard", "skip3", "small", "skip3_small")
SMALL_SIDE_PX = 32.0
SKIP = 3
FULL = "full"
INITS = (FULL, "half", "quarter")


@dataclass(frozen=True)
class Sequence:
    """``frames`` are image files, ``truth`` (N, 4) boxes (x, y, w, h) in pixels of the image shown, NaN where the
    target is absent. Images are shrunk by ``scale`` (0 < scale <= 1) when read.

    ``attributes`` are what the dataset says is hard about it. A tracker is started with the part ``init`` of the first
    box (:func:`part_of`). Without ``is_judged`` only the first box is known (a server keeps the others): the rest of
    ``truth`` is NaN then, and the target may be there all the same.
    """

    name: str
    frames: tuple[Path, ...]
    truth: np.ndarray
    scale: float = 1.0
    attributes: tuple[str, ...] = ()
    init: str = FULL
    is_judged: bool = True

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, number: int) -> np.ndarray:
        """The frame as BGR uint8 (H, W, 3). Raises ValueError if the file is no image."""
        image = read_image(self.frames[number])
        if self.scale == 1:
            return image
        return cv2.resize(image, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)

    def images(self) -> Iterator[np.ndarray]:
        return (self.image(number) for number in range(len(self)))

    def head(self, count: int | None) -> Sequence:
        return replace(self, frames=self.frames[:count], truth=self.truth[:count])

    def started_with(self, init: str) -> Sequence:
        """The same, with trackers started with a part of the first box, one of :data:`INITS`."""
        return replace(self, init=init)

    @property
    def start_box(self) -> np.ndarray:
        """What a tracker is started with on the first frame: (4,), x, y, w, h in pixels of the image shown."""
        return part_of(self.truth[0], self.init)

    @property
    def judged_truth(self) -> np.ndarray:
        """What results are compared with: ``truth``, or NaN alone where nothing but the first box is known."""
        return self.truth if self.is_judged else np.full_like(self.truth, np.nan)


def part_of(box: np.ndarray, init: str) -> np.ndarray:
    """The part of a box (x, y, w, h) that a tracker is started with: ``full``; ``half``, the first half along the longer
    side (the top of a standing target, the left of a lying one); ``quarter``, half of both sides (top left).

    After the paper's Figure 12, targets of which only a part is boxed at the start; which part is our choice. No side
    becomes shorter than what a tracker takes (2 px).
    """
    x, y, w, h = (float(value) for value in box)

    def halved(side: float) -> float:
        return max(side / 2, min(side, MIN_INIT_SIDE_PX))

    cut_width = init == "quarter" or (init == "half" and w > h)
    cut_height = init == "quarter" or (init == "half" and w <= h)
    return np.array([x, y, halved(w) if cut_width else w, halved(h) if cut_height else h])


def image_files(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder in the order of the numbers in their names, without hidden files (macOS: ``._*``)."""

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", path.name)  # 2.png comes before 10.png
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]

    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return tuple(sorted((path for path in files if not path.name.startswith(".")), key=key))


def read_image(path: Path) -> np.ndarray:
    """Return an image as BGR uint8 (H, W, 3), rotated as its EXIF orientation says.

    Raises ValueError if the file is not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is not a readable image")
    return image


def read_truth(path: Path) -> np.ndarray:
    """A box a line, x, y, w, h, separated by commas, tabs or spaces; NaN where the target is absent: where a number is
    ``nan`` or a side is not positive. Raises ValueError with the bad line."""
    boxes = []
    for number, values in number_lines(path, "x, y, w, h"):
        if len(values) != 4:
            raise ValueError(f"{path}:{number}: expected x, y, w, h, got {len(values)} numbers")
        boxes.append(values)
    truth = np.asarray(boxes, float).reshape(-1, 4)
    truth[~(truth[:, 2:] > 0).all(1) | np.isnan(truth).any(1)] = np.nan
    return truth


def number_lines(path: Path, meaning: str) -> Iterator[tuple[int, list[float]]]:
    """Line number (from 1) and numbers of every line that is not empty, separated by commas, tabs or spaces.

    Raises FileNotFoundError, or ValueError with the bad line; ``meaning`` says in both what is expected there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: expected lines of {meaning}")
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            values = [float(value) for value in line.replace(",", " ").split()]
        except ValueError:
            raise ValueError(f"{path}:{number}: expected {meaning}, got {line!r}") from None
        if values:
            yield number, values


def check_start(sequence: Sequence, folder: Path) -> Sequence:
    """The sequence itself. Raises ValueError where its first frame has no box."""
    if not len(sequence) or np.isnan(sequence.truth[0]).any():
        raise ValueError(f"{folder}: the first frame needs a box, for the tracker starts there")
    return sequence


def load_sequence(folder: str | Path) -> Sequence:
    """A folder with ``groundtruth.txt`` and the images, in it or in ``img/``, in the order of the numbers in their names.

    Raises FileNotFoundError without truth, ValueError where images and boxes differ in number or the first is absent.
    """
    folder = Path(folder)
    truth = read_truth(folder / "groundtruth.txt")
    images = folder / "img" if (folder / "img").is_dir() else folder
    frames = image_files(images)
    if len(frames) != len(truth):
        raise ValueError(f"{folder} has {len(frames)} images but {len(truth)} boxes")
    return check_start(Sequence(folder.name, frames, truth), folder)


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
