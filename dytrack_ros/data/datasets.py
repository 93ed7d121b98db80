"""Where training images come from: tar shards, files in folders, several of these; and the bank on the device."""

from __future__ import annotations

import json
import os
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dytrack_ros.data.labels import ImageTable, LabelledImage


class Dataset(Protocol):
    """What the sampler and the image bank need of a data set. For more than some 100,000 images, ``images`` had better
    be an :class:`ImageTable`."""

    images: Sequence[LabelledImage]

    def pixels(self, number: int) -> np.ndarray:
        """The image of that number, uint8 RGB, HxWx3. Raises OSError or ValueError if it cannot be read."""
        ...


def decode_rgb(encoded: bytes, name: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """The pixels of a JPEG, PNG or WebP file, uint8 RGB, HxWx3, as stored: boxes know nothing of EXIF orientation.

    Raises ValueError if it is no image, or not of the ``size`` (width, height) that is expected.
    """
    buffer = np.frombuffer(encoded, np.uint8)
    decoded = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(buffer) else None
    if decoded is None:
        raise ValueError(f"{name} is no readable image")
    height, width = decoded.shape[:2]
    if size is not None and size != (width, height):
        raise ValueError(f"{name} has {width}x{height} pixels, its label says {size[0]}x{size[1]}")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


class ShardDataset:
    """Images from tar shards: WebP, JPEG or PNG files and an ``index.jsonl`` that lists, an object a line,
    ``{file, w, h, boxes: [[x, y, w, h], ...], source, video?, frame?}``. Images stay on the disk until asked for.

    Raises FileNotFoundError for a missing shard and ValueError for one without an index, or a compressed one.
    """

    def __init__(self, shards: Iterable[str | Path]):
        images: list[LabelledImage] = []
        self._places: list[tuple[BinaryIO, int, int]] = []
        for shard in map(Path, shards):
            self._read(shard, images)
        if not images:
            raise ValueError("the shards hold no usable image: at least one box of each image must be trainable")
        self.images = ImageTable.of(images)

    def _read(self, shard: Path, images: list[LabelledImage]) -> None:
        file = shard.open("rb")  # stays open, for the pixels
        try:
            archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115
            members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        except tarfile.ReadError as error:
            raise ValueError(f"{shard} is no plain tar file ({error}): unpack it if it is compressed") from None
        if "index.jsonl" not in members:
            raise ValueError(f"{shard} has no index.jsonl; it holds {sorted(members)[:3]} ...")
        for line in archive.extractfile(members["index.jsonl"]).read().decode().splitlines():
            if not line.strip():
                continue
            entry = json.loads(line)
            image = LabelledImage(
                int(entry["w"]),
                int(entry["h"]),
                np.asarray(entry["boxes"], np.float32).reshape(-1, 4),
                entry.get("source", shard.stem),
                entry.get("video"),
                int(entry.get("frame", 0)),
            )
            if len(image.trainable_boxes()):
                images.append(image)
                member = members[entry["file"]]
                self._places.append((file, member.offset_data, member.size))

    def pixels(self, number: int) -> np.ndarray:
        file, offset, size = self._places[number]
        return decode_rgb(
            os.pread(file.fileno(), size, offset), f"image {number}, in {file.name},", self.images.size(number)
        )


class FolderDataset:
    """Labelled images that lie as files in folders; ``path`` tells where. ``left_out`` says, an entry each, which
    videos or images have no usable label and why."""

    def __init__(self, images: ImageTable, path: Callable[[int], Path], left_out: Sequence[str] = ()):
        self.images, self.path, self.left_out = images, path, tuple(left_out)

    def pixels(self, number: int) -> np.ndarray:
        path = self.path(number)
        return decode_rgb(path.read_bytes(), str(path), self.images.size(number))


class JoinedDataset:
    """Several data sets as one, their images numbered through."""

    def __init__(self, parts: Sequence[Dataset]):
        self.parts = tuple(parts)
        tables = [ImageTable.of(part.images) for part in parts]
        self.images = ImageTable.concatenated(tables)
        self._ends = np.cumsum([len(table) for table in tables]).tolist()

    def pixels(self, number: int) -> np.ndarray:
        position = bisect_right(self._ends, number)
        return self.parts[position].pixels(number - (self._ends[position - 1] if position else 0))


@dataclass
class ImageBank:
    """Images as bytes in one array on the training device, so that crops are cut there in batches.

    ``pixels`` (P, 3) uint8 holds image after image, row by row; image i starts at ``offsets[i]`` and has
    ``widths[i]`` x ``heights[i]`` pixels.
    """

    pixels: Tensor
    offsets: Tensor
    widths: Tensor
    heights: Tensor
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        self.device = self.pixels.device

    @classmethod
    def load(cls, dataset: Dataset, device: str | torch.device = "cpu", progress: bool = True) -> ImageBank:
        """All images of the data set."""
        images = ImageTable.of(dataset.images)
        sizes = images.widths.astype(np.int64) * images.heights
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        pixels = np.empty((offsets[-1], 3), np.uint8)
        for number in tqdm(range(len(sizes)), desc="decoding images", unit="img", disable=not progress):
            pixels[offsets[number] : offsets[number + 1]] = dataset.pixels(number).reshape(-1, 3)
        return cls._of(pixels, offsets, images.widths, images.heights).to(device)

    @classmethod
    def pack(cls, images: Sequence[np.ndarray]) -> ImageBank:
        """These images, uint8 RGB, HxWx3."""
        heights, widths = (np.asarray([image.shape[axis] for image in images], np.int64) for axis in (0, 1))
        pixels = np.concatenate([np.zeros((0, 3), np.uint8), *(image.reshape(-1, 3) for image in images)])
        return cls._of(pixels, np.concatenate([[0], np.cumsum(widths * heights)]), widths, heights)

    @classmethod
    def _of(cls, pixels: np.ndarray, offsets: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> ImageBank:
        numbers = (torch.as_tensor(np.asarray(values, np.int64)) for values in (offsets[:-1], widths, heights))
        return cls(torch.from_numpy(pixels), *numbers)

    def to(self, device: str | torch.device) -> ImageBank:
        """The bank on that device; from pinned memory, without waiting for the copy."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ImageBank:
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> ImageBank:
        return ImageBank(*(change(tensor) for tensor in (self.pixels, self.offsets, self.widths, self.heights)))


def expand_shards(paths: Sequence[str | Path]) -> list[Path]:
    """Shard files of the given files and folders, sorted. Raises FileNotFoundError for what holds none."""
    shards: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob("*.tar")) if path.is_dir() else [path] if path.is_file() else []
        if not found:
            raise FileNotFoundError(
                f"no training data at {path}: give .tar shards, a folder of them, or NAME:FOLDER, such as coco:{path}"
            )
        shards += found
    return shards
