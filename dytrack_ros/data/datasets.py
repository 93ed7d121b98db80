"""Training images: files in folders, several data sets as one, and the tables made of sequences and of stills."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from dytrack_ros.data.files import decode_rgb
from dytrack_ros.data.labels import ImageTable, LabelledImage, inside_image, trainable
from dytrack_ros.data.sequences import Sequence as Video

READING_THREADS = 8


class ImageDataset(Protocol):
    """Labelled images and their pixels."""

    @property
    def images(self) -> Sequence[LabelledImage]:
        """The labels; for more than some 100,000 images an :class:`ImageTable`."""
        ...

    def pixels(self, number: int) -> np.ndarray:
        """The image of that number, uint8 RGB, HxWx3. Raises OSError or ValueError if it cannot be read."""
        ...


class FolderDataset:
    """Labelled images in files; ``path`` gives the file of each number.

    ``left_out`` has an entry, with the reason, for each video or image without usable labels.
    """

    def __init__(self, images: ImageTable, path: Callable[[int], Path], left_out: Sequence[str] = ()):
        self.images, self.path, self.left_out = images, path, tuple(left_out)

    def pixels(self, number: int) -> np.ndarray:
        path = self.path(number)
        return decode_rgb(path.read_bytes(), str(path), self.images.size(number))


class JoinedDataset:
    """Several data sets as one, their images numbered through."""

    def __init__(self, parts: Sequence[ImageDataset]):
        self.parts = tuple(parts)
        tables = [ImageTable.of(part.images) for part in parts]
        self.images = ImageTable.concatenated(tables)
        self._ends = np.cumsum([len(table) for table in tables]).tolist()

    def pixels(self, number: int) -> np.ndarray:
        position = bisect_right(self._ends, number)
        return self.parts[position].pixels(number - (self._ends[position - 1] if position else 0))


def video_dataset(source: str, videos: Mapping[str, Callable[[], Video]]) -> FolderDataset:
    """The frames with a trainable box of sequences, which are read by the functions ``videos``, by name.

    A video that cannot be used is left out. Raises ValueError if none can be used.
    """

    def attempt(name: str) -> tuple[Video, ImageTable] | str:
        try:
            video = videos[name]()
            return video, _usable_frames(source, name, video)
        except (OSError, ValueError) as error:
            return f"{name}: {error}"

    with ThreadPoolExecutor(READING_THREADS) as pool:
        attempts = list(tqdm(pool.map(attempt, videos), desc=f"reading {source}", total=len(videos), unit="video"))
    found = [attempt for attempt in attempts if not isinstance(attempt, str)]
    left_out = [attempt for attempt in attempts if isinstance(attempt, str)]
    if not found:
        raise ValueError(f"no video of {source} can be used: {left_out[0] if left_out else 'its list is empty'}")
    files = [video.frames for video, _ in found]
    images = ImageTable.concatenated([table for _, table in found])
    return FolderDataset(images, lambda number: files[images.videos[number]][int(images.frames[number])], left_out)


def _usable_frames(source: str, name: str, video: Video) -> ImageTable:
    """The frames with a box that is trainable once it is clipped to the image."""
    visible = ~np.isnan(video.truth).any(1)
    if not visible.any():
        raise ValueError("the target is never visible")
    path = video.frames[int(np.argmax(visible))]
    height, width = decode_rgb(path.read_bytes(), str(path)).shape[:2]
    boxes = inside_image(video.truth, width, height)
    frames = np.flatnonzero(trainable(boxes, width, height))
    if len(frames) < 2:
        raise ValueError(f"{len(frames)} of {len(boxes)} frames can be used: no pair")
    return ImageTable.of_video(source, name, (width, height), frames, boxes[frames])


def still_dataset(source: str, labels: Iterable[tuple[Path, int, int, list]], left_out: Sequence[str]) -> FolderDataset:
    """Stills of (path, width, height, boxes), those with a trainable box. Raises ValueError if there is none."""
    images, paths = [], []
    for path, width, height, boxes in labels:
        inside = inside_image(np.asarray(boxes, np.float64).reshape(-1, 4), width, height)
        image = LabelledImage(width, height, inside, source)
        if len(image.trainable_boxes()):
            images.append(image)
            paths.append(path)
    if not images:
        raise ValueError(f"no image of {source} can be used: {left_out[0] if left_out else 'none has a trainable box'}")
    return FolderDataset(ImageTable.of(images), paths.__getitem__, left_out)
