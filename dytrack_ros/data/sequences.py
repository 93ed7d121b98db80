"""Sequences with a box for each frame, their harder variants, and plain folders of sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Listing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from dytrack_ros.data.files import files_in, images_in, read_image, read_truth

VARIANTS = ("standard", "skip3", "small", "skip3_small")
SMALL_SIDE_PX = 32.0
SKIP = 3


@dataclass(frozen=True)
class Sequence:
    """``frames`` are image files, ``truth`` (N, 4) boxes (x, y, w, h) in pixels of the image shown.

    ``truth`` is NaN where the target is absent. Images are shrunk by ``scale`` (0 < scale <= 1) when read.
    ``attributes`` are the data set's names of the sequence's difficulties. Without ``is_judged`` only the first box is
    known (a server keeps the others): the rest of ``truth`` is NaN although the target may be visible.
    """

    name: str
    frames: Listing[Path]
    truth: np.ndarray
    scale: float = 1.0
    attributes: tuple[str, ...] = ()
    is_judged: bool = True

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, number: int) -> np.ndarray:
        """The frame as BGR uint8 (H, W, 3). Raises ValueError if the file is no image.

        Values of more than 8 bits are mapped by the range of the first frame.
        """
        image = read_image(self.frames[number], self.frames[0])
        if self.scale == 1:
            return image
        return cv2.resize(image, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)

    def images(self) -> Iterator[np.ndarray]:
        return (self.image(number) for number in range(len(self)))

    def head(self, count: int | None) -> Sequence:
        """The first ``count`` frames; all for None."""
        return replace(self, frames=self.frames[:count], truth=self.truth[:count])

    def starts(self, count: int, length: int) -> list[Sequence]:
        """Up to ``count`` parts of ``length`` frames, evenly spaced; each begins with a frame that has a box.

        A sequence of at most ``length`` frames has one part, its whole.
        """
        possible = np.flatnonzero(~np.isnan(self.truth[: max(len(self) - length, 0) + 1]).any(axis=1))
        wanted = np.linspace(0, possible[-1], count)
        first = sorted({int(possible[np.searchsorted(possible, frame)]) for frame in wanted})
        return [replace(self, frames=self.frames[n:], truth=self.truth[n:]).head(length) for n in first]

    @property
    def start_box(self) -> np.ndarray:
        """The init box on the first frame: (4,), x, y, w, h in pixels of the image shown."""
        return self.truth[0]

    @property
    def judged_truth(self) -> np.ndarray:
        """The truth that results are compared with: all NaN if only the first box is known."""
        return self.truth if self.is_judged else np.full_like(self.truth, np.nan)


@dataclass(frozen=True)
class Layout:
    """How an evaluation set lies in its folder.

    ``expected`` describes the files, ``recognises`` tells whether a folder looks like it, ``load`` reads it. ``size``
    is the number of sequences of the official set. ``attribute_names`` are the columns of the files ``NAME.txt`` in one
    of ``attribute_folders``. ``absent_is_missed``: the set's own toolkit counts frames without the target as missed.
    ``subset_note`` tells what to do if there are more than ``size`` sequences.
    """

    name: str
    expected: str
    recognises: Callable[[Path], bool]
    load: Callable[[Path], list[Sequence]]
    size: int | None = None
    attribute_names: tuple[str, ...] = ()
    attribute_folders: tuple[str, ...] = ()
    absent_is_missed: bool = False
    subset_note: str = ""


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


def check_start(sequence: Sequence, folder: Path) -> Sequence:
    """Returns the sequence. Raises ValueError if its first frame has no box."""
    if not len(sequence) or np.isnan(sequence.truth[0]).any():
        raise ValueError(f"{folder}: the first frame needs a box, for the tracker starts there")
    return sequence


# --- plain folders ---------------------------------------------------------------------------------------------------


def load_sequence(folder: str | Path) -> Sequence:
    """A folder with ``groundtruth.txt`` and the images, in it or in ``img/``, in the order of their numbers.

    Raises FileNotFoundError if either is missing, ValueError if images and boxes differ in number or the first box is
    absent.
    """
    folder = Path(folder)
    truth = read_truth(folder / "groundtruth.txt")
    frames = images_in(folder / "img" if (folder / "img").is_dir() else folder)
    if len(frames) != len(truth):
        raise ValueError(f"{folder} has {len(frames)} images but {len(truth)} boxes")
    return check_start(Sequence(folder.name, frames, truth), folder)


def training_videos(folder: Path) -> dict[str, Callable[[], Sequence]]:
    """Readers of the sequences in ``folder`` by name, for training. Raises FileNotFoundError if there is none."""
    folders = [path.parent for path in files_in(folder, "*/groundtruth.txt")]
    if not folders:
        raise FileNotFoundError(f"no sequences in {folder}: expected NAME/groundtruth.txt and NAME/img/*")
    return {path.name: partial(load_sequence, path) for path in folders}


def load_sequences(folder: str | Path) -> list[Sequence]:
    """All sequences in ``folder``, by name. Raises as :func:`load_sequence`, FileNotFoundError if there is none."""
    return [read() for read in training_videos(Path(folder)).values()]


LAYOUTS = (
    Layout("plain", "NAME/groundtruth.txt and NAME/img/*", lambda folder: any(folder.glob("*/groundtruth.txt")),
    load_sequences),
)  # fmt: skip
