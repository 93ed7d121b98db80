"""Sizes, boxes, sources and videos of training images, without their pixels."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, TypeVar, overload

import numpy as np

Name = TypeVar("Name", bound=Hashable)

MIN_SIDE_PX = 8.0
MAX_ASPECT = 6.0
MAX_AREA_SHARE = 0.5


def trainable(boxes: np.ndarray, width: np.ndarray | int, height: np.ndarray | int) -> np.ndarray:
    """Which of ``boxes`` (N, 4) as (x, y, w, h) in images of that size a tracker can learn from, bool (N,).

    Excluded are sides under 8 px, aspects over 6 and areas over half of the image.
    """
    _, _, w, h = boxes.T
    big_enough = np.minimum(w, h) >= MIN_SIDE_PX
    compact = np.maximum(w, h) <= MAX_ASPECT * np.minimum(w, h)
    inside = w * h <= MAX_AREA_SHARE * width * height
    return big_enough & compact & inside


def inside_image(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Clips ``boxes`` (N, 4) as (x, y, w, h) at the border of the image; a box with a NaN becomes empty."""
    corners = np.nan_to_num(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))
    corners = np.clip(corners, 0, [width, height, width, height])
    return np.concatenate([corners[:, :2], np.maximum(corners[:, 2:] - corners[:, :2], 0)], axis=1).astype(np.float32)


@dataclass(frozen=True)
class LabelledImage:
    """One image and its objects: ``boxes`` (N, 4) as (x, y, w, h) in pixels.

    In a ``video`` box 0 is the same object in every ``frame``. ``neighbours`` is the number of labelled objects near
    the target, which need not have boxes here. None: the number of other boxes for a still, 0 for a frame.
    """

    width: int
    height: int
    boxes: np.ndarray
    source: str
    video: str | None = None
    frame: int = 0
    neighbours: int | None = None

    @property
    def neighbour_count(self) -> int:
        if self.neighbours is not None:
            return self.neighbours
        return max(len(self.boxes) - 1, 0) if self.video is None else 0

    def trainable_boxes(self) -> np.ndarray:
        """Numbers of the boxes that a tracker can learn from."""
        return np.flatnonzero(trainable(self.boxes, self.width, self.height))


@dataclass(frozen=True, eq=False)
class ImageTable(Sequence[LabelledImage]):
    """Any number of :class:`LabelledImage`, in columns: 20 million frames take less than a gigabyte.

    ``widths``, ``heights``, ``frames`` and ``neighbours`` (N,). Image i has the boxes ``boxes[box_starts[i] :
    box_starts[i + 1]]`` of ``boxes`` (M, 4). ``sources`` (N,) are positions in ``source_names``; ``videos`` (N,) are
    positions in ``video_names``, which are (source, name), or -1 for stills.
    """

    widths: np.ndarray
    heights: np.ndarray
    box_starts: np.ndarray
    boxes: np.ndarray
    sources: np.ndarray
    source_names: tuple[str, ...]
    videos: np.ndarray
    video_names: tuple[tuple[str, str], ...]
    frames: np.ndarray
    neighbours: np.ndarray

    def __len__(self) -> int:
        return len(self.widths)

    @overload
    def __getitem__(self, number: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, number: slice) -> ImageTable: ...
    def __getitem__(self, number: int | slice) -> LabelledImage | ImageTable:
        if isinstance(number, slice):
            return self.take(np.arange(len(self))[number])
        if not 0 <= number < len(self):
            raise IndexError(f"there is no image {number}: they are 0 to {len(self) - 1}")
        video = self.videos[number]
        return LabelledImage(
            *self.size(number),
            self.boxes[self.box_starts[number] : self.box_starts[number + 1]],
            self.source(number),
            None if video < 0 else self.video_names[video][1],
            int(self.frames[number]),
            int(self.neighbours[number]),
        )

    def size(self, number: int) -> tuple[int, int]:
        """Width and height."""
        return int(self.widths[number]), int(self.heights[number])

    def source(self, number: int) -> str:
        return self.source_names[self.sources[number]]

    @cached_property
    def trainable(self) -> np.ndarray:
        """Whether a tracker can learn from each of the boxes, bool (M,)."""
        counts = np.diff(self.box_starts)
        return trainable(self.boxes, np.repeat(self.widths, counts), np.repeat(self.heights, counts))

    def trainable_stills(self) -> np.ndarray:
        """Numbers of the stills with a trainable box."""
        before = np.concatenate([[0], np.cumsum(self.trainable)])
        counts = before[self.box_starts[1:]] - before[self.box_starts[:-1]]
        return np.flatnonzero((self.videos < 0) & (counts > 0))

    def trainable_videos(self) -> list[np.ndarray]:
        """For each video the numbers of its images, frame by frame, whose box 0 is trainable."""
        numbers = np.flatnonzero((self.videos >= 0) & (np.diff(self.box_starts) > 0))
        numbers = numbers[self.trainable[self.box_starts[numbers]]]
        return grouped(numbers[np.lexsort((self.frames[numbers], self.videos[numbers]))], self.videos)

    def take(self, numbers: np.ndarray) -> ImageTable:
        """These images alone, in this order."""
        counts = np.diff(self.box_starts)[numbers]
        starts = np.concatenate([[0], np.cumsum(counts)])
        rows = np.repeat(self.box_starts[numbers] - starts[:-1], counts) + np.arange(starts[-1])
        columns = {name: getattr(self, name)[numbers] for name in (*_PER_IMAGE, "sources", "videos")}
        return replace(self, box_starts=starts, boxes=self.boxes[rows], **columns)

    @classmethod
    def of(cls, images: Iterable[LabelledImage]) -> ImageTable:
        """The table of single images; ``images`` itself, if it is a table."""
        if isinstance(images, cls):
            return images
        images = list(images)
        sources, videos = _Codes[str](), _Codes[tuple[str, str]]()
        boxes = [np.asarray(image.boxes, np.float32).reshape(-1, 4) for image in images]
        return cls(
            widths=np.asarray([image.width for image in images], np.int32),
            heights=np.asarray([image.height for image in images], np.int32),
            box_starts=np.cumsum([0, *map(len, boxes)]),
            boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
            sources=np.asarray([sources[image.source] for image in images], np.int32),
            source_names=tuple(sources),
            videos=np.asarray(
                [-1 if image.video is None else videos[image.source, image.video] for image in images], np.int32
            ),
            video_names=tuple(videos),
            frames=np.asarray([image.frame for image in images], np.int32),
            neighbours=np.asarray([image.neighbour_count for image in images], np.int32),
        )

    @classmethod
    def of_video(
        cls, source: str, name: str, size: tuple[int, int], frames: np.ndarray, boxes: np.ndarray
    ) -> ImageTable:
        """The ``frames`` (N,) of one video, all of ``size`` (width, height), with one box (N, 4) each."""
        count = len(frames)
        zeros = np.zeros(count, np.int32)
        return cls(
            widths=zeros + size[0],
            heights=zeros + size[1],
            box_starts=np.arange(count + 1),
            boxes=np.asarray(boxes, np.float32),
            sources=zeros,
            source_names=(source,),
            videos=zeros,
            video_names=((source, name),),
            frames=np.asarray(frames, np.int32),
            neighbours=zeros,
        )

    @classmethod
    def concatenated(cls, tables: Sequence[ImageTable]) -> ImageTable:
        """All images one after the other; parts of the same video of the same source become one video."""
        tables = [cls.of([]), *tables]
        sources, videos = _Codes[str](), _Codes[tuple[str, str]]()
        new_sources = [np.asarray([sources[name] for name in table.source_names], np.int32) for table in tables]
        new_videos = [np.asarray([*(videos[name] for name in table.video_names), -1], np.int32) for table in tables]
        first_box = np.cumsum([0, *(len(table.boxes) for table in tables)])
        starts = [table.box_starts[:-1] + first for table, first in zip(tables, first_box[:-1], strict=True)]
        columns = {name: np.concatenate([getattr(table, name) for table in tables]) for name in ("boxes", *_PER_IMAGE)}
        return cls(
            box_starts=np.concatenate([*starts, first_box[-1:]]),
            sources=np.concatenate([new[table.sources] for new, table in zip(new_sources, tables, strict=True)]),
            source_names=tuple(sources),
            videos=np.concatenate([new[table.videos] for new, table in zip(new_videos, tables, strict=True)]),
            video_names=tuple(videos),
            **columns,
        )


_PER_IMAGE = ("widths", "heights", "frames", "neighbours")


def grouped(numbers: np.ndarray, keys: np.ndarray) -> list[np.ndarray]:
    """Splits ``numbers``, which are sorted by their key, into one array for each key."""
    if not len(numbers):
        return []
    return np.split(numbers, np.flatnonzero(np.diff(keys[numbers])) + 1)


class _Codes(dict[Name, int], Generic[Name]):
    """Numbers for names, in the order in which they are first asked for."""

    def __missing__(self, name: Name) -> int:
        self[name] = len(self)
        return self[name]
