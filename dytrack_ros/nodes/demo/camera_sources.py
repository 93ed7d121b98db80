"""Where camera_node takes its pictures from: a video, a folder of images, a webcam, or a synthetic scene."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dytrack_ros.nodes.demo.synthetic_scene import SyntheticScene
from dytrack_ros.tracking.box import Box

SYNTHETIC_FRAMES = 300
_IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class SourceError(ValueError):
    """A source that cannot be opened or read; the text says what was expected."""


class SourceFrame(NamedTuple):
    """One picture, uint8 BGR, HxWx3, and the true box (x, y, w, h in pixels), None where it is unknown or absent."""

    image: np.ndarray
    truth: Box | None


class Source:
    """Pictures in order; every `iter` starts from the first one.

    Attributes:
        knows_truth: whether the target's true box is known (on the frames where it is visible).
    """

    knows_truth = False

    def __iter__(self) -> Iterator[SourceFrame]:
        raise NotImplementedError


def open_source(name: str, frames: int = 0, width: int = 640, height: int = 480, seed: int = 0) -> Source:
    """The source of this name: `synthetic`, a folder, a webcam's number or device path, or a video file.

    Args:
        frames: end after so many pictures; 0: all of them.
        width, height, seed: of the synthetic scene.

    Raises:
        SourceError: there is no such source, or it holds no picture.
    """
    if name == "synthetic":
        return Synthetic(frames or SYNTHETIC_FRAMES, width, height, seed)
    if name.isdecimal() or name.startswith("/dev/video"):
        return Webcam(int(name) if name.isdecimal() else name, frames)
    path = Path(name).expanduser()
    if path.is_dir():
        return ImageFolder(path, frames)
    if not path.is_file():
        raise SourceError(
            f"there is no source '{name}': give a video file, a folder of images, a webcam's number, or synthetic"
        )
    return Video(path, frames)


class Synthetic(Source):
    """`frames` pictures of a synthetic scene."""

    knows_truth = True

    def __init__(self, frames: int, width: int, height: int, seed: int) -> None:
        self._frames = frames
        self._scene = SyntheticScene(width, height, seed)

    def __iter__(self) -> Iterator[SourceFrame]:
        return (SourceFrame(*self._scene.frame(index)) for index in range(self._frames))


class Video(Source):
    """The pictures of a video file."""

    def __init__(self, path: Path, frames: int = 0) -> None:
        self._path = path
        self._frames = frames
        next(iter(self))  # an unreadable file is noticed here, not in the middle of a run

    def __iter__(self) -> Iterator[SourceFrame]:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(f"{self._path} cannot be read as a video (OpenCV knows mp4, avi, mkv, webm ...)")
        return _captured(capture, self._frames, f"{self._path} holds no picture that OpenCV can decode")


class Webcam(Source):
    """A live camera; it is opened once and cannot start again from its first picture."""

    def __init__(self, device: int | str, frames: int = 0) -> None:
        capture = cv2.VideoCapture(device)
        if not capture.isOpened():
            raise SourceError(f"webcam {device} cannot be opened: is it plugged in, free, and may this user read it?")
        self._pictures = _captured(capture, frames, f"webcam {device} sends no pictures")

    def __iter__(self) -> Iterator[SourceFrame]:
        return self._pictures


def _captured(capture: cv2.VideoCapture, frames: int, complaint: str) -> Iterator[SourceFrame]:
    count = 0
    while not frames or count < frames:
        readable, image = capture.read()
        if not readable:
            break
        count += 1
        yield SourceFrame(image, None)
    capture.release()
    if not count:
        raise SourceError(complaint)


class ImageFolder(Source):
    """The images of a folder (or of its `img` folder) in the order of the numbers in their names.

    A `groundtruth.txt` beside them or in the folder above gives the truth: one box a line, `x,y,w,h`, separated by
    commas, blanks or tabs; `nan` where the target is absent.
    """

    def __init__(self, folder: Path, frames: int = 0) -> None:
        images = folder / "img" if (folder / "img").is_dir() else folder
        self._paths = sorted(
            (path for path in images.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES), key=_number_aware
        )
        if not self._paths:
            raise SourceError(f"folder {images} holds no images ({', '.join(sorted(_IMAGE_SUFFIXES))})")
        truth = next(
            (path for path in (images / "groundtruth.txt", images.parent / "groundtruth.txt") if path.is_file()), None
        )
        self.knows_truth = truth is not None
        self._boxes = _read_boxes(truth) if truth else []
        self._frames = frames or None

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, path in enumerate(islice(self._paths, self._frames)):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            if image is None:
                raise SourceError(f"{path} cannot be read as an image")
            yield SourceFrame(image, self._boxes[index] if index < len(self._boxes) else None)


def _number_aware(path: Path) -> list:
    """A sort key by which 2.png comes before 10.png."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]


def _read_boxes(path: Path) -> list[Box | None]:
    boxes: list[Box | None] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            x, y, width, height = map(float, re.split(r"[,\s]+", line.strip()))
        except ValueError as error:
            raise SourceError(f"{path}, line {number}: expected x,y,w,h (or nan,nan,nan,nan), not '{line}'") from error
        box = (x, y, width, height)
        boxes.append(box if all(map(math.isfinite, box)) else None)
    return boxes
