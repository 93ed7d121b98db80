"""Files of data sets: text in any usual encoding, images in order, pixels."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dytrack_ros.data.value_range import Range, find_range, to_8_bit

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def files_in(folder: Path, pattern: str) -> list[Path]:
    """The files that match, sorted, without the ``._NAME`` files that macOS leaves beside others."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("._"))


def read_text(path: Path, meaning: str = "text", errors: str = "strict") -> str:
    """A text file in UTF-8, or in UTF-16 with a byte order mark.

    Raises FileNotFoundError that says what is expected there (``meaning``), or ValueError with file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: expected {meaning}")
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding != "utf-16" and (nul := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise ValueError(f"{path}:{line}: zero bytes, as in UTF-16 without a byte order mark: save it as UTF-8")
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: not readable as {encoding} ({error.reason}): save it as UTF-8") from None


def text_lines(path: Path, meaning: str) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of every line that is not blank. Raises as :func:`read_text`."""
    for number, line in enumerate(read_text(path, f"lines of {meaning}").splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def numbers_of(line: str) -> list[float]:
    """The numbers of a line, separated by commas, tabs or blanks. Raises ValueError."""
    return [float(value) for value in line.replace(",", " ").split()]


def number_lines(path: Path, meaning: str) -> Iterator[tuple[int, list[float]]]:
    """Number (from 1) and numbers of every line that is not blank. Raises as :func:`read_text`, with the bad line."""
    for number, line in text_lines(path, meaning):
        try:
            yield number, numbers_of(line)
        except ValueError:
            raise ValueError(f"{path}:{number}: expected {meaning}, got {line!r}") from None


def read_truth(path: Path) -> np.ndarray:
    """Boxes (N, 4), one a line as x, y, w, h; NaN if the target is absent.

    It is absent where a number is ``nan`` or a side is not positive. Raises as :func:`read_text`, with the bad
    line.
    """
    boxes = []
    for number, values in number_lines(path, "x, y, w, h"):
        if len(values) != 4:
            raise ValueError(f"{path}:{number}: expected x, y, w, h, got {len(values)} numbers")
        boxes.append(values)
    truth = np.asarray(boxes, float).reshape(-1, 4)
    truth[~(truth[:, 2:] > 0).all(1) | np.isnan(truth).any(1)] = np.nan
    return truth


def first_box(path: Path, count: int) -> np.ndarray:
    """(count, 4): the first box of a truth file, then NaN. Raises ValueError if the file is empty."""
    truth = read_truth(path)
    if not len(truth):
        raise ValueError(f"{path} is empty: expected the first frame's box")
    padded = np.full((count, 4), np.nan)
    padded[0] = truth[0]
    return padded


def flags_in(path: Path, count: int) -> np.ndarray:
    """``count`` numbers, on one line or one a line, as booleans: not 0.

    Raises as :func:`read_text`, or for the count.
    """
    values = [value for _, line in number_lines(path, "a number a frame, 0 or not") for value in line]
    if len(values) != count:
        raise ValueError(f"{path} has {len(values)} flags for {count} frames")
    return np.asarray(values) != 0


def names_in(path: Path) -> list[str]:
    """The names in a list, separated by blanks or line ends."""
    return read_text(path, "a list of names").split()


def image_files(folder: Path) -> tuple[Path, ...]:
    """The images of a folder in the order of the numbers in their names, without hidden files (macOS: ``._*``)."""

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", path.name)  # 2.png comes before 10.png
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]

    return tuple(sorted((path for path in files_in(folder, "[!.]*") if path.suffix.lower() in IMAGE_SUFFIXES), key=key))


def images_in(folder: Path) -> tuple[Path, ...]:
    """As :func:`image_files`. Raises FileNotFoundError if there is none."""
    images = image_files(folder) if folder.is_dir() else ()
    if not images:
        raise FileNotFoundError(f"{folder} has no images: expected {', '.join(sorted(IMAGE_SUFFIXES))} files there")
    return images


def frame_number(path: Path) -> int:
    """The last number in a file's name; 0 if there is none."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else 0


def first_frames(frames: tuple[Path, ...], count: int, truth_file: Path) -> tuple[Path, ...]:
    """As many frames as there are boxes. Raises ValueError if there are fewer."""
    if len(frames) < count:
        raise ValueError(f"{truth_file} has {count} boxes, but {frames[0].parent} only {len(frames)} images")
    return frames[:count]


@dataclass(frozen=True)
class NumberedFrames(Sequence[Path]):
    """The ``length`` files ``first``.jpg, ``first + 1``.jpg ... of a folder, in at least ``digits`` digits.

    Paths are made when asked for: training sets have too many frames to list. There are no slices.
    """

    folder: Path
    first: int
    digits: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: Any) -> Any:
        return self.folder / f"{self.first + range(self.length)[number]:0{self.digits}d}.jpg"


def read_image(path: Path, first: Path | None = None) -> np.ndarray:
    """An image as BGR uint8 (H, W, 3), rotated as its EXIF orientation says. Raises ValueError if it is no image.

    Values of more than 8 bits are mapped by the range of the image ``first``, by default by the image's own range.
    """
    image = _read_values(path)
    return image if image.dtype == np.uint8 else to_8_bit(image, _value_range(first or path))


@functools.lru_cache(maxsize=64)
def _value_range(path: Path) -> Range:
    return find_range(_read_values(path))


def _read_values(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise ValueError(f"{path} is not a readable image")
    return image


def decode_rgb(encoded: bytes, name: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Pixels of an encoded image, uint8 RGB, HxWx3, without EXIF rotation: training boxes refer to stored pixels.

    Raises ValueError if it is no image, or not of the expected ``size`` (width, height).
    """
    buffer = np.frombuffer(encoded, np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(buffer, flags) if len(buffer) else None
    if decoded is None:
        raise ValueError(f"{name} is no readable image")
    height, width = decoded.shape[:2]
    if size is not None and size != (width, height):
        raise ValueError(f"{name} has {width}x{height} pixels, its label says {size[0]}x{size[1]}")
    if decoded.dtype != np.uint8:
        decoded = to_8_bit(decoded, find_range(decoded))
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
