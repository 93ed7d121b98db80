"""Which object and which two images make a training pair."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from dytrack_ros.training.datasets import Dataset


@dataclass(frozen=True)
class PairBatch:
    """``template_image`` and ``search_image`` (B,) image numbers, their boxes (B, 4) as (x, y, w, h) in pixels.

    ``scene`` (B,) is the same number for pairs of one still or one video, which may show the same object.
    """

    template_image: np.ndarray
    template_box: np.ndarray
    search_image: np.ndarray
    search_box: np.ndarray
    scene: np.ndarray


class PairSampler:
    """Draws pairs: two frames of a video at most ``max_gap`` frames apart, or one still image twice.

    Sources are drawn in proportion to the ``balance``-th power of their number of images, so that a large one does
    not drown the small ones (1 = by size, 0 = all alike); a share ``video_share`` of the pairs comes from videos.
    Batch ``step`` of a given ``seed`` is always the same, whatever was drawn before it. It is ordered by source, so that
    a pair's neighbour, which the augmentation takes intruders and clutter from, mostly shows the same kind of thing.
    """

    def __init__(
        self, dataset: Dataset, seed: int = 0, video_share: float = 0.4, balance: float = 0.6, max_gap: int = 100
    ):
        self.seed, self.max_gap = seed, max_gap
        self.images = dataset.images
        stills, videos = defaultdict(list), defaultdict(list)
        for number, image in enumerate(self.images):
            if image.video is None:
                stills[image.source].append(number)
            elif 0 in image.trainable_boxes():
                videos[image.video].append(number)
        self.stills = [np.asarray(numbers) for numbers in stills.values()]
        self.videos = [np.asarray(sorted(v, key=lambda n: self.images[n].frame)) for v in videos.values()]
        self.scenes = np.arange(len(self.images))
        for video in self.videos:
            self.scenes[video] = video[0]
        self.still_odds = self._odds(self.stills, balance)
        self.video_odds = self._odds(self.videos, balance)
        self.video_share = video_share if self.stills and self.videos else float(not self.stills)

    @staticmethod
    def _odds(groups: list[np.ndarray], balance: float) -> np.ndarray:
        weights = np.asarray([len(group) for group in groups], float) ** balance
        return weights / weights.sum() if len(weights) else weights

    def batch(self, step: int, size: int) -> PairBatch:
        rng = np.random.default_rng((self.seed, step))
        pairs = [self._video_pair(rng) if rng.random() < self.video_share else self._still_pair(rng) for _ in range(size)]
        pairs.sort(key=lambda pair: self.images[pair[0]].source)
        template_image, template_box, search_image, search_box = (np.stack(column) for column in zip(*pairs, strict=True))
        scene = self.scenes[template_image]
        return PairBatch(template_image, template_box, search_image, search_box, scene)

    def _still_pair(self, rng: np.random.Generator):
        group = self.stills[rng.choice(len(self.stills), p=self.still_odds)]
        number = rng.choice(group)
        image = self.images[number]
        box = image.boxes[rng.choice(image.trainable_boxes())]
        return number, box, number, box

    def _video_pair(self, rng: np.random.Generator):
        video = self.videos[rng.choice(len(self.videos), p=self.video_odds)]
        frames = np.asarray([self.images[number].frame for number in video])
        first = rng.integers(len(video))
        near = np.flatnonzero(np.abs(frames - frames[first]) <= self.max_gap)
        second = rng.choice(near)
        a, b = video[first], video[second]
        return a, self.images[a].boxes[0], b, self.images[b].boxes[0]
