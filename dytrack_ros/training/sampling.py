"""Which object and which two images make a training pair, and the stream that reads their pixels from the disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from dytrack_ros.data.datasets import ImageDataset
from dytrack_ros.data.labels import ImageTable, grouped
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.options import check_options, option

SAMPLINGS = ("balanced", "paper")
SPARE_PX = 4
"""Margin of a streamed window: crops' sides are rounded up to whole pixels, and bilinear sampling reads one further."""

Pair = tuple[int, int, int, int]  # template image, template box, search image, search box


@dataclass(frozen=True)
class SamplingConfig:
    """How pairs are drawn.

    ``balanced`` draws sources in proportion to the ``balance``-th power of their number of images (1: by size, 0: all
    alike), videos likewise. ``paper`` draws all sources alike (LaSOT, GOT-10k, TrackingNet and COCO: 1:1:1:1), then one
    of the source's videos, or one of its objects.
    """

    sampling: str = option(
        "balanced", "balanced: large sources count more, but less than by size; paper: all sources alike",
        choices=SAMPLINGS,
    )  # fmt: skip
    video_share: float = option(0.4, "share of the pairs from videos, if balanced", low=0, high=1)
    max_gap: int = option(100, "largest distance between the two frames of a video pair, in frames", low=1)
    crowd: float = option(
        0.0, "share of the pairs whose target has labelled neighbours (natural distractors), if balanced", low=0, high=1
    )
    balance: float = 0.6

    def __post_init__(self) -> None:
        check_options(self)
        if self.crowd and self.sampling != "balanced":
            raise ValueError(f"crowd {self.crowd} needs sampling balanced, not {self.sampling}")


@dataclass(frozen=True)
class PairBatch:
    """Pairs of a template and a search image.

    ``template_image`` and ``search_image`` (B,) are image numbers, ``template_box`` and ``search_box`` (B, 4) boxes as
    (x, y, w, h) in pixels. ``template_object`` and ``search_object`` (B,) number the boxes of the data set. Pairs of
    one still or one video share their ``scene`` (B,). With a ``bank`` of their own, image numbers and boxes are those
    of the bank's windows, else those of the data set.
    """

    template_image: np.ndarray
    template_box: np.ndarray
    search_image: np.ndarray
    search_box: np.ndarray
    template_object: np.ndarray
    search_object: np.ndarray
    scene: np.ndarray
    bank: ImageBank | None = None


class PairSampler:
    """Draws pairs: two frames of a video at most ``max_gap`` frames apart, or one still image twice.

    Batch ``step`` of a given ``seed`` does not depend on earlier batches. It is ordered by source, so that a pair's
    neighbour in the batch, which the augmentation takes distractors and clutter from, mostly shows the same kind of
    object. Raises ValueError if the data hold no trainable box, or no neighbours where ``crowd`` asks for them.
    """

    def __init__(self, dataset: ImageDataset, seed: int = 0, config: SamplingConfig | None = None):
        self.seed, self.config = seed, config or SamplingConfig()
        self.images = table = ImageTable.of(dataset.images)
        stills, self.videos = table.trainable_stills(), table.trainable_videos()
        if not len(stills) and not self.videos:
            raise ValueError("there is nothing to train on: no box is trainable")
        self.scenes = np.arange(len(table))
        for video in self.videos:
            self.scenes[video] = video[0]
        self.all_pairs = _Pool(table, stills, self.videos, self.config)
        crowded = [video for video in self.videos if np.median(table.neighbours[video]) > 0]
        self.crowded_pairs = _Pool(table, stills[table.neighbours[stills] > 0], crowded, self.config)
        if self.config.crowd and self.crowded_pairs.is_empty:
            raise ValueError(f"crowd {self.config.crowd}: no target of the data has labelled neighbours; give crowd 0")
        self.sources = self._sources()

    def _sources(self) -> list[tuple[str, np.ndarray]]:
        """("stills", numbers of trainable boxes) or ("videos", positions in ``self.videos``) of each source."""
        table = self.images
        groups = []
        for numbers in self.all_pairs.stills:
            rows = np.concatenate([np.arange(table.box_starts[n], table.box_starts[n + 1]) for n in numbers])
            groups.append(("stills", rows[table.trainable[rows]]))
        source_of = np.asarray([table.sources[video[0]] for video in self.videos], int)
        return groups + [("videos", np.flatnonzero(source_of == source)) for source in np.unique(source_of)]

    def batch(self, step: int, size: int, part: int = 0, parts: int = 1) -> PairBatch:
        """Every ``parts``-th pair of the step's ``size``, from number ``part`` on.

        Processes that take one part each see together what a single process would.
        """
        rng = np.random.default_rng((self.seed, step))
        draw = self._paper_pair if self.config.sampling == "paper" else self._balanced_pair
        pairs = [draw(rng) for _ in range(size)]
        pairs.sort(key=lambda pair: self.images.source(pair[0]))
        columns = zip(*pairs[part::parts], strict=True)
        template_image, template_object, search_image, search_object = (np.stack(column) for column in columns)
        boxes = self.images.boxes
        return PairBatch(
            template_image,
            boxes[template_object],
            search_image,
            boxes[search_object],
            template_object,
            search_object,
            scene=self.scenes[template_image],
        )

    def _balanced_pair(self, rng: np.random.Generator) -> Pair:
        pool = self.crowded_pairs if self.config.crowd and rng.random() < self.config.crowd else self.all_pairs
        if rng.random() < pool.video_share:
            return self._video_pair(pool.videos[rng.choice(len(pool.videos), p=pool.video_odds)], rng)
        number = rng.choice(pool.stills[rng.choice(len(pool.stills), p=pool.still_odds)])
        row = self.images.box_starts[number] + rng.choice(self.images[number].trainable_boxes())
        return number, row, number, row

    def _paper_pair(self, rng: np.random.Generator) -> Pair:
        kind, members = self.sources[rng.integers(len(self.sources))]
        member = rng.choice(members)
        if kind == "videos":
            return self._video_pair(self.videos[member], rng)
        number = int(np.searchsorted(self.images.box_starts, member, side="right")) - 1
        return number, member, number, member

    def _video_pair(self, video: np.ndarray, rng: np.random.Generator) -> Pair:
        table = self.images
        frames = table.frames[video]
        first = rng.integers(len(video))
        gap = self.config.max_gap
        near = np.searchsorted(frames, [frames[first] - gap, frames[first] + gap + 1])
        a, b = video[first], video[rng.integers(*near)]
        return a, table.box_starts[a], b, table.box_starts[b]


class _Pool:
    """Stills by source and videos, with the odds of drawing each."""

    def __init__(self, table: ImageTable, stills: np.ndarray, videos: list[np.ndarray], config: SamplingConfig):
        self.stills = grouped(stills[np.argsort(table.sources[stills], kind="stable")], table.sources)
        self.videos = videos
        self.still_odds, self.video_odds = (_odds(groups, config.balance) for groups in (self.stills, videos))
        self.video_share = config.video_share if self.stills and videos else float(not self.stills)

    @property
    def is_empty(self) -> bool:
        return not self.stills and not self.videos


def _odds(groups: list[np.ndarray], balance: float) -> np.ndarray:
    weights = np.asarray([len(group) for group in groups], float) ** balance
    return weights / weights.sum() if len(weights) else weights


# --- streaming -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CropView:
    """What crops can show of an image.

    ``reach`` is the largest distance from the target's centre, in target sides sqrt(w * h). ``side_px`` is the largest
    side of a target in a crop: a larger target can be shrunk to that without loss.
    """

    reach: float
    side_px: float


class PairStream:
    """Draws what ``sampler`` draws, with the pixels read from the disk by ``threads`` threads, ``ahead`` batches early.

    Each batch has a bank that holds the parts of the images that crops can show. An unreadable image is counted in
    ``unreadable`` (number: reason), and its pair is replaced by the next one of the batch.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        sampler: PairSampler,
        views: tuple[CropView, CropView],
        device: str | torch.device,
        threads: int,
        ahead: int = 3,
    ):
        self.dataset, self.sampler, self.views, self.ahead = dataset, sampler, views, ahead
        self.device = torch.device(device)
        self.unreadable: dict[int, str] = {}
        self._readers = ThreadPoolExecutor(threads, "reader")
        self._collectors = ThreadPoolExecutor(2, "collector")  # one reads on while the other copies
        self._pending: dict[tuple[int, ...], Future[PairBatch]] = {}

    def batch(self, step: int, size: int, part: int = 0, parts: int = 1) -> PairBatch:
        """As :meth:`PairSampler.batch`, quick if steps are asked for in turn.

        Raises OSError if no pair of the batch can be read.
        """
        wanted = [(number, size, part, parts) for number in range(step, step + self.ahead + 1)]
        for outdated in self._pending.keys() - set(wanted):
            self._pending.pop(outdated).cancel()
        for key in wanted:
            if key not in self._pending:
                self._pending[key] = self._collectors.submit(self._collect, *key)
        pairs = self._pending.pop(wanted[0]).result()
        assert pairs.bank is not None
        return replace(pairs, bank=pairs.bank.to(self.device))

    def close(self) -> None:
        """Ends the threads and drops pending reads."""
        for pool in (self._collectors, self._readers):
            pool.shutdown(cancel_futures=True)

    def _collect(self, step: int, size: int, part: int, parts: int) -> PairBatch:
        pairs = self.sampler.batch(step, size, part, parts)
        columns = (pairs.template_image, pairs.template_box, pairs.search_image, pairs.search_box)
        reads = [self._readers.submit(self._read, *pair) for pair in zip(*columns, strict=True)]
        windows = {number: found for number, read in enumerate(reads) if (found := read.result()) is not None}
        if not windows:
            raise OSError(f"none of {len(reads)} pairs can be read: {next(iter(self.unreadable.values()))}")
        good = np.asarray(list(windows))
        boxes = np.stack([[box for _, box in both] for both in windows.values()])
        place = np.searchsorted(good, np.arange(len(reads))) % len(good)
        return PairBatch(
            template_image=2 * place,
            template_box=boxes[place, 0],
            search_image=2 * place + 1,
            search_box=boxes[place, 1],
            template_object=pairs.template_object[good[place]],
            search_object=pairs.search_object[good[place]],
            scene=pairs.scene[good[place]],
            bank=ImageBank.pack([image for both in windows.values() for image, _ in both]),
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


def source_window(
    image: np.ndarray, box: Sequence[float] | np.ndarray, view: CropView
) -> tuple[np.ndarray, np.ndarray]:
    """The part of ``image`` (H, W, 3) that crops around ``box`` (x, y, w, h) can show, and the box in it.

    The part is shrunk where the target is larger than crops show it.
    """
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
    """Whole pixels of [0, end), at least one, from ``centre - half`` to ``centre + half``."""
    low = min(max(math.floor(centre - half), 0), end - 1)
    return low, min(max(math.ceil(centre + half), low + 1), end)
