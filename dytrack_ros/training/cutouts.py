"""Objects cut out of their images, so that they can be shown before other scenes and before each other."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dytrack_ros.data.datasets import Dataset
from dytrack_ros.data.labels import ImageTable

MASK_PX = 64
"""A mask's side, and the longer side of a box while its object is cut out: what a target has in the search region."""
SURROUNDINGS = 0.35
"""How much of a box's sides is seen around it, for the colours of what is not the object."""
ROUNDS = 4
CORE = 0.5
"""The part of a box's sides whose ellipse is taken for the object: else it is often all given to the surroundings."""
LEAST_AGREEMENT = 0.75
SHARES = (0.25, 0.95)
LEAST_PART = 0.1
MOST_OBJECTS = 100_000


def cut_out(image: np.ndarray, box: Sequence[float]) -> np.ndarray | None:
    """The mask of the object in ``box`` (x, y, w, h) of ``image`` (H, W, 3) uint8: bool (MASK_PX, MASK_PX) over the box.

    By its colours (Rother et al., "GrabCut", 2004), which the middle of the box starts. None where the result is hardly
    the object: where its bounds have less than 0.75 of the box's area, or it has less than 0.25 or more than 0.95.
    """
    x, y, w, h = (float(value) for value in box)
    scale = MASK_PX / max(w, h)
    left, top = x - SURROUNDINGS * w, y - SURROUNDINGS * h
    size = tuple(round(side * (1 + 2 * SURROUNDINGS) * scale) for side in (w, h))
    view = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    crop = cv2.warpAffine(image, view, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = np.rint(np.array([x - left, y - top, x - left + w, y - top + h]) * scale).astype(int)
    labels = np.full(crop.shape[:2], cv2.GC_BGD, np.uint8)
    _within(labels, inside)[:] = cv2.GC_PR_FGD
    middle, reach = (inside[:2] + inside[2:]) // 2, (inside[2:] - inside[:2]) * CORE / 2
    cv2.ellipse(labels, middle.tolist(), np.maximum(reach.astype(int), 1).tolist(), 0, 0, 360, cv2.GC_FGD, cv2.FILLED)
    cv2.setRNGSeed(0)
    models = np.zeros((2, 1, 65))
    cv2.grabCut(crop, labels, None, models[0], models[1], ROUNDS, cv2.GC_INIT_WITH_MASK)
    mask = _within(_without_specks(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)), inside)
    _, _, width, height = cv2.boundingRect(mask)
    if not SHARES[0] < mask.mean() < SHARES[1] or width * height < LEAST_AGREEMENT * mask.size:
        return None
    return cv2.resize(mask, (MASK_PX, MASK_PX), interpolation=cv2.INTER_NEAREST).astype(bool)


def _within(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = corners
    return image[y1:y2, x1:x2]


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Without the connected parts that are smaller than a tenth of the largest."""
    _, parts, found, _ = cv2.connectedComponentsWithStats(mask)
    areas = found[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # what is not masked
    return (areas >= max(LEAST_PART * areas.max(), 1))[parts].astype(np.uint8)


@dataclass(frozen=True)
class Cutouts:
    """``masks`` (N, MASK_PX, MASK_PX) uint8, 0 or 255 over the object's box; ``numbers`` (M,) which of them belongs to
    each of a data set's M boxes, -1 for those without. Both on the training device."""

    masks: Tensor
    numbers: Tensor

    def has(self, objects: Tensor) -> Tensor:
        """Whether boxes of these numbers (B,) have a mask, bool (B,)."""
        return self.numbers[objects] >= 0

    def alpha(self, objects: Tensor, boxes: Tensor, windows: Tensor, size: int) -> Tensor:
        """How much of each pixel of crops of ``windows`` (B, 4) is the object in ``boxes`` (B, 4), both as (x, y, w, h)
        in pixels, in [0, 1], (B, 1, size, size); all 1 in the box where the object has no mask."""
        steps = (torch.arange(size, device=boxes.device, dtype=torch.float32) + 0.5) / size
        xs = (windows[:, :1] + steps * windows[:, 2:3] - boxes[:, :1]) / boxes[:, 2:3] * 2 - 1
        ys = (windows[:, 1:2] + steps * windows[:, 3:] - boxes[:, 1:2]) / boxes[:, 3:] * 2 - 1
        grid = torch.stack([xs[:, None, :].expand(-1, size, -1), ys[:, :, None].expand(-1, -1, size)], dim=3)
        numbers = self.numbers[objects]
        masks = boxes.new_ones(len(boxes), MASK_PX, MASK_PX)
        masks[numbers >= 0] = self.masks[numbers[numbers >= 0]].float() / 255
        return torch.nn.functional.grid_sample(masks[:, None], grid, align_corners=False)

    def to(self, device: str | torch.device) -> Cutouts:
        return Cutouts(self.masks.to(device), self.numbers.to(device))

    @classmethod
    def none(cls, boxes: int) -> Cutouts:
        """Of a data set with so many boxes, where nothing is cut out."""
        return cls(torch.zeros(0, MASK_PX, MASK_PX, dtype=torch.uint8), torch.full((boxes,), -1))

    @classmethod
    def made(cls, dataset: Dataset, threads: int, progress: bool = True) -> Cutouts:
        """Cuts out all trainable objects of a data set, at most MOST_OBJECTS; about 15 ms each on one core.

        The same data give the same masks. An image that cannot be read has none.
        """
        table = ImageTable.of(dataset.images)
        objects = np.flatnonzero(table.trainable)
        if len(objects) > MOST_OBJECTS:
            objects = np.sort(np.random.default_rng(0).choice(objects, MOST_OBJECTS, replace=False))
        image_of = np.searchsorted(table.box_starts, objects, side="right") - 1
        images = np.split(objects, np.flatnonzero(np.diff(image_of)) + 1) if len(objects) else []

        def of_image(rows: np.ndarray) -> list[np.ndarray | None]:
            number = int(np.searchsorted(table.box_starts, rows[0], side="right") - 1)
            try:
                image = dataset.pixels(number)
            except (OSError, ValueError):
                return [None] * len(rows)
            return [cut_out(image, table.boxes[row]) for row in rows]

        masks, numbers = [], np.full(len(table.boxes), -1)
        with (
            ThreadPoolExecutor(threads) as pool,
            tqdm(total=len(objects), desc="cutting out objects", unit="object", disable=not progress) as bar,
        ):
            for rows, found in zip(images, pool.map(of_image, images), strict=True):
                for row, mask in zip(rows, found, strict=True):
                    if mask is not None:
                        numbers[row] = len(masks)
                        masks.append(mask)
                bar.update(len(rows))
        stacked = np.stack(masks) if masks else np.zeros((0, MASK_PX, MASK_PX), bool)
        return cls(torch.from_numpy(stacked.astype(np.uint8) * 255), torch.from_numpy(numbers))

    def save(self, path: Path, dataset: Dataset) -> None:
        """Writes them for that data set, whole or not at all."""
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                masks=np.packbits(self.masks.cpu().numpy() > 0, axis=2),
                numbers=self.numbers.cpu().numpy(),
                data=_fingerprint(dataset),
            )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path, dataset: Dataset) -> Cutouts:
        """Raises ValueError if they are those of other data, or the file is none of these."""
        try:
            with np.load(path) as file:
                masks, numbers, data = file["masks"], file["numbers"], str(file["data"])
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} holds no cutouts ({error}): name another file, or delete it to have it made"
            ) from None
        if data != _fingerprint(dataset):
            raise ValueError(f"{path} holds the cutouts of other data: name another file, or delete it to have it made")
        masks = np.unpackbits(masks, axis=2) * np.uint8(255)
        return cls(torch.from_numpy(masks), torch.from_numpy(numbers))


def _fingerprint(dataset: Dataset) -> str:
    """Of the boxes and the images' sizes."""
    table = ImageTable.of(dataset.images)
    digest = hashlib.sha256()
    for column in (table.widths, table.heights, table.box_starts, table.boxes):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
