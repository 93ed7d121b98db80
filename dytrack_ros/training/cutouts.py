"""Objects cut out of their images, and synthetic video: cut-out objects moved in front of another scene.

Two frames of a synthetic video share the object but not its surroundings. The two crops of a still image share both, so
a network trained on stills alone learns to find targets by their surroundings.
"""

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
from torch.nn import functional as F
from tqdm import tqdm

from dytrack_ros.data.datasets import ImageDataset
from dytrack_ros.data.labels import ImageTable
from dytrack_ros.training.crops import ImageBank

MASK_PX = 64  # side of a mask, and longer side of a box in GrabCut: the usual side of a target in the search region
SURROUNDINGS = 0.35  # border around the box that shows the background's colours, in sides of the box
ROUNDS = 4
CORE = 0.5  # sides of the ellipse that is certainly the object, in sides of the box
LEAST_AGREEMENT = 0.75
SHARES = (0.25, 0.95)
LEAST_PART = 0.1
MOST_OBJECTS = 100_000
SCENE_SIDES = (0.4, 1.0)  # sides of a scene's window, in shorter sides of its image


def cut_out(image: np.ndarray, box: Sequence[float]) -> np.ndarray | None:
    """Segments the object in ``box`` (x, y, w, h) of ``image`` (H, W, 3) uint8 by GrabCut (Rother et al., 2004).

    Returns a mask over the box, bool (MASK_PX, MASK_PX). Returns None for an implausible result: bounds under 0.75 of
    the box's area, or a mask under 0.25 or over 0.95 of it.
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
    cv2.grabCut(crop, labels, (0, 0, 1, 1), models[0], models[1], ROUNDS, cv2.GC_INIT_WITH_MASK)
    mask = _within(_without_specks(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)), inside)
    _, _, width, height = cv2.boundingRect(mask)
    if not SHARES[0] < mask.mean() < SHARES[1] or width * height < LEAST_AGREEMENT * mask.size:
        return None
    return cv2.resize(mask, (MASK_PX, MASK_PX), interpolation=cv2.INTER_NEAREST).astype(bool)


def _within(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = corners
    return image[y1:y2, x1:x2]


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Removes connected parts smaller than a tenth of the largest."""
    _, parts, found, _ = cv2.connectedComponentsWithStats(mask)
    areas = found[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # the background
    return (areas >= max(LEAST_PART * areas.max(), 1))[parts].astype(np.uint8)


@dataclass(frozen=True)
class Cutouts:
    """Masks of a data set's objects, on the training device.

    ``masks`` (N, MASK_PX, MASK_PX) uint8 are 0 or 255 over the object's box. ``numbers`` (M,) gives the mask of each of
    the M boxes, -1 for a box without one.
    """

    masks: Tensor
    numbers: Tensor

    def has(self, objects: Tensor) -> Tensor:
        """Whether the boxes of these numbers (B,) have a mask, bool (B,)."""
        return self.numbers[objects] >= 0

    def alpha(self, objects: Tensor, boxes: Tensor, windows: Tensor, size: int) -> Tensor:
        """Opacity in [0, 1] of the objects in crops of ``windows`` (B, 4), (B, 1, size, size).

        ``boxes`` (B, 4) are the objects' boxes; both are (x, y, w, h) in pixels. An object without a mask fills its
        box.
        """
        steps = (torch.arange(size, device=boxes.device, dtype=torch.float32) + 0.5) / size
        xs = (windows[:, :1] + steps * windows[:, 2:3] - boxes[:, :1]) / boxes[:, 2:3] * 2 - 1
        ys = (windows[:, 1:2] + steps * windows[:, 3:] - boxes[:, 1:2]) / boxes[:, 3:] * 2 - 1
        grid = torch.stack([xs[:, None, :].expand(-1, size, -1), ys[:, :, None].expand(-1, -1, size)], dim=3)
        numbers = self.numbers[objects]
        masks = boxes.new_ones(len(boxes), MASK_PX, MASK_PX)
        masks[numbers >= 0] = self.masks[numbers[numbers >= 0]].float() / 255
        return F.grid_sample(masks[:, None], grid, align_corners=False)

    def to(self, device: str | torch.device) -> Cutouts:
        return Cutouts(self.masks.to(device), self.numbers.to(device))

    @classmethod
    def none(cls, boxes: int) -> Cutouts:
        """No masks, for a data set of ``boxes`` boxes."""
        return cls(torch.zeros(0, MASK_PX, MASK_PX, dtype=torch.uint8), torch.full((boxes,), -1))

    @classmethod
    def made(cls, dataset: ImageDataset, threads: int, progress: bool = True) -> Cutouts:
        """Cuts out all trainable objects of a data set, at most MOST_OBJECTS, in about 15 ms each on one core.

        The same data give the same masks. Objects of unreadable images have none.
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

        masks: list[np.ndarray] = []
        numbers = np.full(len(table.boxes), -1)
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

    def save(self, path: Path, dataset: ImageDataset) -> None:
        """Writes the masks of ``dataset`` atomically."""
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
    def load(cls, path: Path, dataset: ImageDataset) -> Cutouts:
        """Raises ValueError if the file holds no masks, or those of other data."""
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


def _fingerprint(dataset: ImageDataset) -> str:
    """Hash of the boxes and the images' sizes."""
    table = ImageTable.of(dataset.images)
    digest = hashlib.sha256()
    for column in (table.widths, table.heights, table.box_starts, table.boxes):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


# --- synthetic video
# ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """Crops (B, 3, S, S) that show an object, and the object's opacity ``alpha`` (B, 1, S, S) in [0, 1]."""

    crop: Tensor
    alpha: Tensor

    def before(self, scene: Tensor) -> Tensor:
        """The object in front of ``scene``, (B, 3, S, S)."""
        return torch.lerp(scene, self.crop, self.alpha)

    def turned(self, centre: Tensor, turn: Tensor) -> Layer:
        """Maps crop and opacity by the matrices ``turn`` (B, 2, 2) about ``centre`` (B, 2) in [0, 1]."""
        pivot = (centre * 2 - 1)[..., None]
        back = torch.linalg.inv(turn)
        grid = F.affine_grid(torch.cat([back, pivot - back @ pivot], 2), list(self.crop.shape), align_corners=False)
        both = F.grid_sample(torch.cat([self.crop, self.alpha], 1), grid, align_corners=False)
        return Layer(both[:, :3], both[:, 3:])

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Box of the object's visible pixels as (x1, y1, x2, y2) in [0, 1], (B, 4), and whether there are any, (B,)."""
        shown = self.alpha[:, 0] > 0.5
        ends = [_ends(shown.any(axis)) for axis in (1, 2)]  # columns, rows
        first, last = (torch.stack([axis[end] for axis in ends], 1) for end in (0, 1))
        return torch.cat([first, last], 1), shown.flatten(1).any(1)


def turned_box(layer: Layer, turned: Layer, box: Tensor) -> tuple[Tensor, Tensor]:
    """Moves each side of ``box`` (B, 4) as far as turning moved the bounds of the mask.

    The label may be looser than the mask, and stays so. Also returns whether the object is visible before and after,
    bool (B,).
    """
    (before, was_seen), (after, is_seen) = layer.bounds(), turned.bounds()
    return box + after - before, was_seen & is_seen


def turns(angle: Tensor, shear: Tensor) -> Tensor:
    """Matrices (B, 2, 2) that rotate by ``angle`` (B,) in radians after a shear of ``shear`` (B,)."""
    cos, sin, one = torch.cos(angle), torch.sin(angle), torch.ones_like(angle)
    rotation = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    slant = torch.stack([one, shear, torch.zeros_like(angle), one], 1).view(-1, 2, 2)
    return rotation @ slant


def scene_windows(bank: ImageBank, image: Tensor, place: Tensor, seen: Tensor) -> Tensor:
    """Square windows (B, 4) as (left, top, width, height) inside ``image`` (B,).

    ``place`` (B, 2) and ``seen`` (B,) in [0, 1] choose the position and the size among those possible.
    """
    size = bank.sizes(image)
    side = size.amin(1) * (SCENE_SIDES[0] + (SCENE_SIDES[1] - SCENE_SIDES[0]) * seen)
    return torch.cat([place * (size - side[:, None]), side[:, None].expand(-1, 2)], 1)


def moved_within(windows: Tensor, bank: ImageBank, image: Tensor, share: float, motion: Tensor) -> Tensor:
    """The view of the camera in another frame: the middle ``share`` of ``windows`` (B, 4), moved within the image.

    ``motion`` (B, 2) is in units of the windows' sides.
    """
    size = bank.sizes(image)
    side = windows[:, 2:] * share
    corner = windows[:, :2] + windows[:, 2:] * ((1 - share) / 2 + motion)
    return torch.cat([torch.minimum(corner.clamp(min=0), size - side), side], 1)


def _ends(shown: Tensor) -> tuple[Tensor, Tensor]:
    """First and last true position of each row of ``shown`` (B, S), in [0, 1]."""
    length = shown.shape[1]
    places = torch.arange(length, device=shown.device)
    first = torch.where(shown, places, length).amin(1)
    last = torch.where(shown, places + 1, 0).amax(1)
    return first / length, last / length
