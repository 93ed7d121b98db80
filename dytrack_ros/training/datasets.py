"""What a training set is: labelled images, some of them frames of videos, all in memory as bytes."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

MIN_SIDE_PX = 8.0
MAX_ASPECT = 6.0
MAX_AREA_SHARE = 0.5


@dataclass(frozen=True)
class LabelledImage:
    """One image and its objects: ``boxes`` (N, 4) as (x, y, w, h) in pixels; ``video`` and ``frame`` if it is part of
    one, in which case box 0 is the same object throughout the video."""

    width: int
    height: int
    boxes: np.ndarray
    source: str
    video: str | None = None
    frame: int = 0

    def trainable_boxes(self) -> np.ndarray:
        """Numbers of the boxes that a tracker can learn from: not tiny, not a sliver, not the whole image."""
        _, _, w, h = self.boxes.T
        big_enough = np.minimum(w, h) >= MIN_SIDE_PX
        compact = np.maximum(w, h) <= MAX_ASPECT * np.minimum(w, h)
        inside = w * h <= MAX_AREA_SHARE * self.width * self.height
        return np.flatnonzero(big_enough & compact & inside)


class Dataset(Protocol):
    """What the sampler and the image bank need of a data set."""

    images: list[LabelledImage]

    def pixels(self, number: int) -> np.ndarray:
        """The image of that number, uint8 RGB, HxWx3."""
        ...


class ShardDataset:
    """Images from tar shards: WebP, JPEG or PNG files and an ``index.jsonl`` that lists, an object a line,
    ``{file, w, h, boxes: [[x, y, w, h], ...], source, video?, frame?}``.

    Raises FileNotFoundError for a missing shard and ValueError for one without an index.
    """

    def __init__(self, shards: Iterable[str | Path]):
        self.images: list[LabelledImage] = []
        self._encoded: list[bytes] = []
        for shard in map(Path, shards):
            self._read(shard)
        if not self.images:
            raise ValueError("the shards hold no usable image: at least one box of each image must be trainable")

    def _read(self, shard: Path) -> None:
        with tarfile.open(shard) as archive:
            members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
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
                    self.images.append(image)
                    self._encoded.append(archive.extractfile(members[entry["file"]]).read())

    def pixels(self, number: int) -> np.ndarray:
        decoded = cv2.imdecode(np.frombuffer(self._encoded[number], np.uint8), cv2.IMREAD_COLOR)
        image = self.images[number]
        if decoded is None or decoded.shape[:2] != (image.height, image.width):
            shape = None if decoded is None else decoded.shape
            raise ValueError(f"image {number} ({image.source}) decodes to {shape}, index says {image.width}x{image.height}")
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


@dataclass
class ImageBank:
    """All images as bytes in one array on the training device, so that crops are cut there in batches.

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
        widths = [image.width for image in dataset.images]
        heights = [image.height for image in dataset.images]
        sizes = np.multiply(widths, heights)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        pixels = np.empty((offsets[-1], 3), np.uint8)
        for number in tqdm(range(len(sizes)), desc="decoding images", unit="img", disable=not progress):
            pixels[offsets[number] : offsets[number + 1]] = dataset.pixels(number).reshape(-1, 3)
        tensors = [torch.as_tensor(np.asarray(values)) for values in (offsets[:-1], widths, heights)]
        return cls(torch.from_numpy(pixels).to(device), *(tensor.to(device) for tensor in tensors))


def expand_shards(paths: Sequence[str | Path]) -> list[Path]:
    """Shard files of the given files and folders, sorted. Raises FileNotFoundError for what holds none."""
    shards: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob("*.tar")) if path.is_dir() else [path] if path.is_file() else []
        if not found:
            raise FileNotFoundError(f"no training data at {path}: give .tar shards or a folder of them")
        shards += found
    return shards
