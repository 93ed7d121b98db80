"""Pairs whose images are read while the trainer computes, for data that does not fit on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import torch

from dytrack_ros.data.datasets import Dataset, ImageBank
from dytrack_ros.training.augmentation import CropView
from dytrack_ros.training.sampling import PairBatch, PairSampler

SPARE_PX = 4
"""Beyond a view's reach: crops' sides are rounded up to whole pixels, and bilinear sampling looks one further."""


class PairStream:
    """Draws what ``sampler`` draws, each batch with a bank of its own that holds the parts of the images that crops can
    show, ``ahead`` batches before they are asked for.

    Threads read and decode: both leave the interpreter to others. An image that cannot be read is counted in
    ``unreadable`` (number: why), and its pair is replaced by the next one of the batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: PairSampler,
        views: tuple[CropView, CropView],
        device: str | torch.device,
        threads: int,
        ahead: int = 3,
    ):
        self.dataset, self.sampler, self.views, self.device, self.ahead = (
            dataset,
            sampler,
            views,
            torch.device(device),
            ahead,
        )
        self.unreadable: dict[int, str] = {}
        self._readers = ThreadPoolExecutor(threads, "reader")
        self._collectors = ThreadPoolExecutor(2, "collector")  # two, so that one reads on while the other copies
        self._coming: dict[tuple[int, ...], Future[PairBatch]] = {}

    def batch(self, step: int, size: int, part: int = 0, parts: int = 1) -> PairBatch:
        """As :meth:`PairSampler.batch`; quick if steps are asked for in turn.

        Raises OSError if not one pair of the batch could be read.
        """
        wanted = [(number, size, part, parts) for number in range(step, step + self.ahead + 1)]
        for outdated in self._coming.keys() - set(wanted):
            self._coming.pop(outdated).cancel()
        for key in wanted:
            if key not in self._coming:
                self._coming[key] = self._collectors.submit(self._collect, *key)
        pairs = self._coming.pop(wanted[0]).result()
        return replace(pairs, bank=pairs.bank.to(self.device))

    def close(self) -> None:
        """Ends the threads; what they were about to read is dropped."""
        for pool in (self._collectors, self._readers):
            pool.shutdown(cancel_futures=True)

    def _collect(self, step: int, size: int, part: int, parts: int) -> PairBatch:
        pairs = self.sampler.batch(step, size, part, parts)
        columns = (pairs.template_image, pairs.template_box, pairs.search_image, pairs.search_box)
        reads = [self._readers.submit(self._read, *pair) for pair in zip(*columns, strict=True)]
        windows = [read.result() for read in reads]
        good = np.flatnonzero([window is not None for window in windows])
        if not len(good):
            raise OSError(f"not one of {len(windows)} pairs can be read: {next(iter(self.unreadable.values()))}")
        images = [image for number in good for image, _ in windows[number]]
        boxes = np.stack([[box for _, box in windows[number]] for number in good])
        place = np.searchsorted(good, np.arange(len(windows))) % len(good)
        bank = ImageBank.pack(images)
        return PairBatch(
            template_image=2 * place,
            template_box=boxes[place, 0],
            search_image=2 * place + 1,
            search_box=boxes[place, 1],
            template_object=pairs.template_object[good[place]],
            search_object=pairs.search_object[good[place]],
            scene=pairs.scene[good[place]],
            bank=bank.pin_memory() if self.device.type == "cuda" else bank,
        )

    def _read(self, template: int, template_box: np.ndarray, search: int, search_box: np.ndarray):
        """Both windows of a pair, or None if an image cannot be read."""
        first = self._pixels(template)
        second = first if search == template else self._pixels(search)
        if first is None or second is None:
            return None
        return source_window(first, template_box, self.views[0]), source_window(second, search_box, self.views[1])

    def _pixels(self, number: int) -> np.ndarray | None:
        if number not in self.unreadable:
            try:
                return self.dataset.pixels(number)
            except (OSError, ValueError) as error:
                self.unreadable[int(number)] = str(error)
        return None


def source_window(image: np.ndarray, box: Sequence[float], view: CropView) -> tuple[np.ndarray, np.ndarray]:
    """The part of ``image`` (H, W, 3) that crops around ``box`` (x, y, w, h) can show, shrunk where the target is larger
    than they show it, and the box there."""
    x, y, w, h = map(float, box)
    scale = min(1, view.side_px / math.sqrt(w * h))
    half = view.reach * math.sqrt(w * h) + SPARE_PX / scale
    left, right = _span(x + w / 2, half, image.shape[1])
    top, bottom = _span(y + h / 2, half, image.shape[0])
    window = image[top:bottom, left:right]
    if scale < 1:
        size = (max(round((right - left) * scale), 1), max(round((bottom - top) * scale), 1))
        window = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
    zoom = np.array([window.shape[1] / (right - left), window.shape[0] / (bottom - top)] * 2)
    return window, (np.array([x - left, y - top, w, h]) * zoom).astype(np.float32)


def _span(centre: float, half: float, end: int) -> tuple[int, int]:
    """Whole pixels of an image that ends at ``end``, at least one, from ``centre - half`` to ``centre + half``."""
    low = min(max(math.floor(centre - half), 0), end - 1)
    return low, min(max(math.ceil(centre + half), low + 1), end)
