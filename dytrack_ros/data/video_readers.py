"""LaSOT, GOT-10k and TrackingNet in the layouts that their makers publish: the training part, frames with a visible target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dytrack_ros.data.datasets import FolderDataset, decode_rgb
from dytrack_ros.data.labels import ImageTable, inside_image, trainable

READING_THREADS = 8


@dataclass(frozen=True)
class LabelledVideo:
    """The labels of one video, frame by frame from 0 on: ``boxes`` (N, 4) as (x, y, w, h) in pixels and ``visible`` (N,).

    Frame i is the file whose name is ``first + i``, in at least ``digits`` digits, in ``folder``.
    """

    name: str
    folder: Path
    first: int
    digits: int
    boxes: np.ndarray
    visible: np.ndarray

    def path(self, frame: int) -> Path:
        return self.folder / f"{self.first + frame:0{self.digits}d}.jpg"

    def size(self) -> tuple[int, int]:
        """Width and height of the frames, from the first visible one. Raises OSError or ValueError if it is no image."""
        path = self.path(int(np.argmax(self.visible)))
        height, width = decode_rgb(path.read_bytes(), str(path)).shape[:2]
        return width, height


def lasot(root: Path) -> FolderDataset:
    """``CATEGORY/CATEGORY-N/{img/00000001.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt}``; or the same
    without the folders of the categories.

    The videos to train on are those that ``training_set.txt`` in ``root`` names, or else all that its
    ``testing_set.txt`` does not; both come with LaSOT. Raises FileNotFoundError without either: the test set must never
    be trained on.
    """
    training, testing = root / "training_set.txt", root / "testing_set.txt"
    folders = {
        path.parent.name: path.parent for depth in ("*", "*/*") for path in root.glob(f"{depth}/groundtruth.txt")
    }
    if training.is_file():
        names = _lines(training)
    elif testing.is_file():
        names = sorted(set(folders) - set(_lines(testing)))
    else:
        raise FileNotFoundError(
            f"{root} has neither training_set.txt nor testing_set.txt: copy LaSOT's list there, for its 280 test videos "
            "must not be trained on"
        )

    def read(name: str) -> LabelledVideo:
        if name not in folders:
            raise FileNotFoundError(f"{name} is in {training.name}, but has no folder with a groundtruth.txt")
        folder = folders[name]
        hidden = _numbers(folder / "full_occlusion.txt") + _numbers(folder / "out_of_view.txt")
        return LabelledVideo(name, folder / "img", 1, 8, _boxes(folder / "groundtruth.txt"), hidden == 0)

    return _dataset("lasot", names, read)


def got10k(root: Path) -> FolderDataset:
    """``train/list.txt`` and ``train/GOT-10k_Train_000001/{00000001.jpg, groundtruth.txt, absence.label, cover.label}``;
    ``root`` may also be the folder ``train``. Frames count where the target is there and not wholly covered (cover 0 of 8).

    Raises FileNotFoundError without ``list.txt``; a shorter one leaves videos out.
    """
    root = root / "train" if (root / "train").is_dir() else root
    if not (root / "list.txt").is_file():
        raise FileNotFoundError(f"{root} has no list.txt: give GOT-10k's folder, which holds train/list.txt")

    def read(name: str) -> LabelledVideo:
        folder = root / name
        visible = (_numbers(folder / "absence.label") == 0) & (_numbers(folder / "cover.label") > 0)
        return LabelledVideo(name, folder, 1, 8, _boxes(folder / "groundtruth.txt"), visible)

    return _dataset("got10k", _lines(root / "list.txt"), read)


def trackingnet(root: Path) -> FolderDataset:
    """``TRAIN_0`` to ``TRAIN_11``, as many as are there, each with ``anno/VIDEO.txt`` and ``frames/VIDEO/0.jpg``.

    Raises FileNotFoundError if there is none.
    """
    chunks = [folder for folder in root.glob("*") if folder.name.upper().startswith("TRAIN_")]
    labels = {
        f"{chunk.name}/{path.stem}": path
        for chunk in sorted(chunks, key=lambda folder: (len(folder.name), folder.name))
        for path in sorted((chunk / "anno").glob("*.txt"))
    }
    if not labels:
        raise FileNotFoundError(
            f"{root} has no TRAIN_*/anno/*.txt: give TrackingNet's folder, which holds TRAIN_0 to TRAIN_11"
        )

    def read(name: str) -> LabelledVideo:
        path = labels[name]
        boxes = _boxes(path)
        return LabelledVideo(name, path.parents[1] / "frames" / path.stem, 0, 1, boxes, np.ones(len(boxes), bool))

    return _dataset("trackingnet", list(labels), read)


def _dataset(source: str, names: Sequence[str], read: Callable[[str], LabelledVideo]) -> FolderDataset:
    """Reads the labels of the named videos; those whose labels are amiss are left out."""
    names = list(dict.fromkeys(names))

    def attempt(name: str) -> tuple[LabelledVideo, ImageTable] | str:
        try:
            video = read(name)
            return video, _usable_frames(source, video)
        except (OSError, ValueError) as error:
            return f"{name}: {error}"

    with ThreadPoolExecutor(READING_THREADS) as pool:
        attempts = list(tqdm(pool.map(attempt, names), desc=f"reading {source}", total=len(names), unit="video"))
    found = [attempt for attempt in attempts if not isinstance(attempt, str)]
    left_out = [attempt for attempt in attempts if isinstance(attempt, str)]
    if not found:
        raise ValueError(f"no video of {source} can be used: {left_out[0] if left_out else 'its list is empty'}")
    videos = [video for video, _ in found]
    images = ImageTable.concatenated([table for _, table in found])

    def path(number: int) -> Path:
        return videos[images.videos[number]].path(int(images.frames[number]))

    return FolderDataset(images, path, left_out)


def _usable_frames(source: str, video: LabelledVideo) -> ImageTable:
    """The frames in which the target is visible and its box, cut off at the image's border, trainable."""
    if len(video.visible) != len(video.boxes):
        raise ValueError(f"{len(video.boxes)} boxes, but {len(video.visible)} flags of visibility")
    if not video.visible.any():
        raise ValueError("the target is never visible")
    size = video.size()
    boxes = inside_image(video.boxes, *size)
    frames = np.flatnonzero(video.visible & trainable(boxes, *size))
    if len(frames) < 2:
        raise ValueError(f"{len(frames)} of {len(boxes)} frames can be used: no pair")
    return ImageTable.of_video(source, video.name, size, frames, boxes[frames])


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _boxes(path: Path) -> np.ndarray:
    """A box a line, with commas. Raises OSError or ValueError, which names the file."""
    boxes = _numbers(path)
    if boxes.size % 4 or not boxes.size:
        raise ValueError(f"{path} holds {boxes.size} numbers: expected x,y,w,h a line")
    return boxes.reshape(-1, 4)


def _numbers(path: Path) -> np.ndarray:
    """All numbers of a file, whether commas, blanks or line ends are between them."""
    text = path.read_text().replace(",", " ").split()
    try:
        return np.asarray(text, np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
