"""Frames to measure on: a textured target that moves over a textured background, or real sequences, at any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np

from dytrack_ros.data.sequences import load_sequences
from dytrack_ros.tracking.box import Box

Frame = tuple[np.ndarray, Box]

_FINENESS = (6, 24, 96)  # cells of noise along the height
_TARGET_HEIGHT = 0.2  # of the image's height
_PERIODS = (190, 130)  # of the path, along and down, in frames


class Frames(Protocol):
    def clip(self, turn: int, count: int) -> Iterator[Frame]:
        """``count`` consecutive frames, uint8 BGR, each with its box (x, y, w, h) in pixels; ``turn`` 0, 1, ... chooses
        which. The same turn always gives the same frames."""
        ...


def open_frames(size: tuple[int, int], data: str | None = None) -> Frames:
    """Frames of ``size`` (width, height): of the sequences in the folder ``data``, or synthetic ones."""
    return SequenceFrames(size, data) if data else SyntheticFrames(size)


class SyntheticFrames:
    """A square target on a path that stays inside the image and moves at most 8 % of its size a frame."""

    def __init__(self, size: tuple[int, int]):
        random = np.random.default_rng(0)
        self._width, self._height = size
        self._background = _texture(random, self._width, self._height)
        side = round(_TARGET_HEIGHT * self._height)
        self._target = _texture(random, side, side)

    def clip(self, turn: int, count: int) -> Iterator[Frame]:
        return map(self._frame, range(turn * count, (turn + 1) * count))

    def _frame(self, number: int) -> Frame:
        side = len(self._target)
        room = np.array([self._width - side, self._height - side])
        reach = np.minimum(room / 2, side * 0.05 * np.array(_PERIODS) / (2 * np.pi))
        x, y = np.round(room / 2 + reach * np.sin(2 * np.pi * number / np.array(_PERIODS))).astype(int)
        image = self._background.copy()
        image[y : y + side, x : x + side] = self._target
        return image, (float(x), float(y), float(side), float(side))


def _texture(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise of several finenesses: uint8 BGR (height, width, 3)."""
    picture = np.full((height, width, 3), 128, np.float32)
    for cells in _FINENESS:
        noise = random.normal(0, 30, (cells, max(1, cells * width // height), 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(picture, 0, 255).astype(np.uint8)


class SequenceFrames:
    """The frames of real sequences that show the target, stretched to the size: another sequence every turn, back and
    forth in one that is shorter than the clip.

    Raises FileNotFoundError or ValueError for a folder without sound sequences.
    """

    def __init__(self, size: tuple[int, int], data: str):
        self._size = size
        self._sequences = load_sequences(data)

    def clip(self, turn: int, count: int) -> Iterator[Frame]:
        sequence = self._sequences[turn % len(self._sequences)]
        shown = np.flatnonzero(~np.isnan(sequence.truth).any(axis=1))
        there_and_back = [*shown, *shown[-2:0:-1]]
        for number in range(count):
            position = there_and_back[number % len(there_and_back)]
            image = sequence.image(position)
            scale = np.array(self._size) / image.shape[1::-1]
            resized = cv2.resize(image, self._size, interpolation=cv2.INTER_LINEAR)
            yield resized, tuple(float(value) for value in sequence.truth[position] * np.tile(scale, 2))
