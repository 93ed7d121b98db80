"""Which object and which two images make a training pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dytrack_ros.data.datasets import Dataset, ImageBank
from dytrack_ros.data.labels import ImageTable, grouped

SAMPLINGS = ("balanced", "paper")


@dataclass(frozen=True)
class PairBatch:
    """``template_image`` and ``search_image`` (B,) image numbers, their boxes (B, 4) as (x, y, w, h) in pixels.

    ``template_object`` and ``search_object`` (B,) are the boxes' numbers among all of the data set. ``scene`` (B,) is the
    same number for pairs of one still or one video, which may show the same object. Images count in ``bank``, where the
    pairs bring one of their own, else in that of the whole data set; a box in such a bank is that of the part it holds.
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

    ``sampling``: ``balanced`` draws sources in proportion to the ``balance``-th power of their number of images, so that
    a large one does not drown the small ones (1 = by size, 0 = all alike), videos likewise, and a share
    ``video_share`` of the pairs from videos. ``paper`` draws all sources alike, whether stills or videos (LaSOT,
    GOT-10k, TrackingNet and COCO: 1:1:1:1), then one of its videos, or one of all its objects.

    Batch ``step`` of a given ``seed`` is always the same, whatever was drawn before it. It is ordered by source, so that
    a pair's neighbour, which the augmentation takes distractors and clutter from, mostly shows the same kind of thing.
    """

    def __init__(
        self,
        dataset: Dataset,
        seed: int = 0,
        video_share: float = 0.4,
        balance: float = 0.6,
        max_gap: int = 100,
        sampling: str = "balanced",
    ):
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling {sampling!r} must be one of {', '.join(SAMPLINGS)}")
        self.seed, self.max_gap, self.sampling = seed, max_gap, sampling
        self.images = table = ImageTable.of(dataset.images)
        stills = table.trainable_stills()
        self.stills = grouped(stills[np.argsort(table.sources[stills], kind="stable")], table.sources)
        self.videos = table.trainable_videos()
        if not self.stills and not self.videos:
            raise ValueError("there is nothing to train on: no box is trainable")
        self.scenes = np.arange(len(table))
        for video in self.videos:
            self.scenes[video] = video[0]
        self.still_odds = _odds(self.stills, balance)
        self.video_odds = _odds(self.videos, balance)
        self.video_share = video_share if self.stills and self.videos else float(not self.stills)
        self.sources = self._sources()

    def _sources(self) -> list[tuple[str, np.ndarray]]:
        """For each source, and apart where it has both, ("stills", rows of its trainable boxes) or ("videos", their
        positions in ``self.videos``)."""
        table = self.images
        groups = []
        for numbers in self.stills:
            rows = np.concatenate([np.arange(table.box_starts[n], table.box_starts[n + 1]) for n in numbers])
            groups.append(("stills", rows[table.trainable[rows]]))
        source_of = np.asarray([table.sources[video[0]] for video in self.videos], int)
        return groups + [("videos", np.flatnonzero(source_of == source)) for source in np.unique(source_of)]

    def batch(self, step: int, size: int, part: int = 0, parts: int = 1) -> PairBatch:
        """Every ``parts``-th pair of the step's ``size``, from number ``part`` on: what one of ``parts`` processes trains
        on, which together see what a single one would."""
        rng = np.random.default_rng((self.seed, step))
        draw = self._paper_pair if self.sampling == "paper" else self._balanced_pair
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

    def _balanced_pair(self, rng: np.random.Generator):
        if rng.random() < self.video_share:
            return self._video_pair(self.videos[rng.choice(len(self.videos), p=self.video_odds)], rng)
        group = self.stills[rng.choice(len(self.stills), p=self.still_odds)]
        number = rng.choice(group)
        row = self.images.box_starts[number] + rng.choice(self.images[number].trainable_boxes())
        return number, row, number, row

    def _paper_pair(self, rng: np.random.Generator):
        kind, members = self.sources[rng.integers(len(self.sources))]
        member = rng.choice(members)
        if kind == "videos":
            return self._video_pair(self.videos[member], rng)
        number = np.searchsorted(self.images.box_starts, member, side="right") - 1
        return number, member, number, member

    def _video_pair(self, video: np.ndarray, rng: np.random.Generator):
        table = self.images
        frames = table.frames[video]
        first = rng.integers(len(video))
        near = np.searchsorted(frames, [frames[first] - self.max_gap, frames[first] + self.max_gap + 1])
        second = rng.integers(*near)
        a, b = video[first], video[second]
        return a, table.box_starts[a], b, table.box_starts[b]


def _odds(groups: list[np.ndarray], balance: float) -> np.ndarray:
    weights = np.asarray([len(group) for group in groups], float) ** balance
    return weights / weights.sum() if len(weights) else weights
