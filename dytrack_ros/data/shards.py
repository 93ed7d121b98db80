"""Training shards: plain tar files of small images with an ``index.jsonl``."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from dytrack_ros.data.datasets import ImageDataset
from dytrack_ros.data.files import decode_rgb, files_in
from dytrack_ros.data.labels import ImageTable, LabelledImage

INDEX = "index.jsonl"
FORMATS = {"webp": cv2.IMWRITE_WEBP_QUALITY, "jpg": cv2.IMWRITE_JPEG_QUALITY}


class ShardDataset:
    """Images from tar shards, read from the disk when asked for.

    A shard holds WebP, JPEG or PNG files and ``index.jsonl`` with an object a line: ``{file, w, h, boxes: [[x, y, w,
    h], ...], source, video?, frame?, neighbours?}`` (:class:`LabelledImage`). Images without a trainable box are left
    out.

    Raises FileNotFoundError for a missing shard, ValueError for a compressed one or for a bad index.
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
        if INDEX not in members:
            raise ValueError(f"{shard} has no {INDEX}; it holds {sorted(members)[:3]} ...")
        index = archive.extractfile(members[INDEX])
        assert index is not None  # it is a file
        for number, line in enumerate(index.read().decode("utf-8-sig").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                image, member = _labels(entry, shard.stem), members[entry["file"]]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{shard}, {INDEX}:{number}: {error!r} in {line[:100]}") from None
            if len(image.trainable_boxes()):
                images.append(image)
                self._places.append((file, member.offset_data, member.size))

    def pixels(self, number: int) -> np.ndarray:
        file, offset, size = self._places[number]
        encoded = os.pread(file.fileno(), size, offset)
        return decode_rgb(encoded, f"image {number}, in {file.name},", self.images.size(number))


def _labels(entry: dict[str, Any], source: str) -> LabelledImage:
    return LabelledImage(
        int(entry["w"]),
        int(entry["h"]),
        np.asarray(entry["boxes"], np.float32).reshape(-1, 4),
        entry.get("source", source),
        entry.get("video"),
        int(entry.get("frame", 0)),
        entry.get("neighbours"),
    )


def expand_shards(paths: Sequence[str | Path]) -> list[Path]:
    """Shard files of the given files and folders, sorted. Raises FileNotFoundError for a path without any."""
    shards: list[Path] = []
    for path in map(Path, paths):
        found = files_in(path, "*.tar") if path.is_dir() else [path] if path.is_file() else []
        if not found:
            raise FileNotFoundError(
                f"no training data at {path}: give .tar shards, a folder of them, or NAME:FOLDER, such as coco:{path}"
            )
        shards += found
    return shards


class ShardWriter:
    """Writes images of ``dataset``, shrunk to the sizes in ``images``; the same bytes for the same images.

    ``unreadable`` has an entry for each image that cannot be read.
    """

    def __init__(self, dataset: ImageDataset, images: ImageTable, suffix: str, quality: int, threads: int):
        self.dataset, self.images, self.suffix, self.quality = dataset, images, suffix, quality
        self.unreadable: list[str] = []
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def write(self, path: Path, numbers: np.ndarray, progress: Callable[[], object] = lambda: None) -> None:
        """Writes one shard atomically and calls ``progress`` for each image.

        Raises ValueError if none of the images can be read.
        """
        partial = path.with_suffix(".partial")
        index = []
        with tarfile.open(partial, "w") as archive:
            for number, encoded in zip(numbers, self._pool.map(self._encode, numbers), strict=True):
                if isinstance(encoded, bytes):
                    name = f"{number:08d}.{self.suffix}"
                    _add(archive, name, encoded)
                    index.append(json.dumps(self._entry(name, number)))
                else:
                    self.unreadable.append(str(encoded))
                progress()
            if not index:
                raise ValueError(f"none of the {len(numbers)} images of {path.name} can be read: {self.unreadable[-1]}")
            _add(archive, INDEX, "".join(line + "\n" for line in index).encode())
        partial.replace(path)

    def _encode(self, number: int) -> bytes | Exception:
        try:
            pixels = self.dataset.pixels(number)
        except (OSError, ValueError) as error:
            return error
        size = self.images.size(number)
        if size != (pixels.shape[1], pixels.shape[0]):
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        settings = [FORMATS[self.suffix], self.quality]
        return cv2.imencode(f".{self.suffix}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)[1].tobytes()

    def _entry(self, name: str, number: int) -> dict[str, Any]:
        """A line of the index."""
        image = self.images[number]
        boxes = [[round(float(value), 2) for value in box] for box in image.boxes]
        entry = {"file": name, "w": image.width, "h": image.height, "boxes": boxes, "source": image.source}
        if image.neighbour_count != replace(image, neighbours=None).neighbour_count:
            entry["neighbours"] = image.neighbour_count
        return entry if image.video is None else entry | {"video": image.video, "frame": image.frame}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # without a date, so that the bytes depend on the content alone
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
