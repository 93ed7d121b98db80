"""Writes tar shards of shrunk images, the same bytes for the same images."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from dytrack_ros.data.datasets import Dataset
from dytrack_ros.data.labels import ImageTable

FORMATS = {"webp": cv2.IMWRITE_WEBP_QUALITY, "jpg": cv2.IMWRITE_JPEG_QUALITY}


class ShardWriter:
    """Writes images of ``dataset``, shrunk to what ``images`` says of them, and counts what cannot be read in
    ``unreadable``, an entry each."""

    def __init__(self, dataset: Dataset, images: ImageTable, suffix: str, quality: int, threads: int):
        self.dataset, self.images, self.suffix, self.quality = dataset, images, suffix, quality
        self.unreadable: list[str] = []
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(cancel_futures=True)

    def write(self, path: Path, numbers: np.ndarray, progress: Callable[[], object] = lambda: None) -> None:
        """One shard, whole or not at all; ``progress`` is called for each image.

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
            _add(archive, "index.jsonl", "".join(line + "\n" for line in index).encode())
        partial.replace(path)

    def _encode(self, number: int) -> bytes | Exception:
        try:
            pixels = self.dataset.pixels(number)
        except (OSError, ValueError) as error:
            return error
        size = self.images.size(number)
        if size != (pixels.shape[1], pixels.shape[0]):
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(
            f".{self.suffix}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [FORMATS[self.suffix], self.quality]
        )
        return encoded.tobytes()

    def _entry(self, name: str, number: int) -> dict:
        """A line of ``index.jsonl``."""
        image = self.images[number]
        boxes = [[round(float(value), 2) for value in box] for box in image.boxes]
        entry = {"file": name, "w": image.width, "h": image.height, "boxes": boxes, "source": image.source}
        return entry if image.video is None else entry | {"video": image.video, "frame": image.frame}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # without a date, so that the bytes depend on the content alone
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
