"""What ``dytrack benchmark`` measures in a process of its own: an engine with a model; and the frames to measure on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from dytrack_ros.engines import Engine
from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker
from dytrack_ros.tracking.box import Box

Frame = tuple[np.ndarray, Box]
Size = tuple[int, int]  # of a frame: width, height
Key = tuple  # what was measured, e.g. ("stage", 1) or ((640, 480), "exit", 3)
Samples = dict[Key, list[float]]  # seconds

UNMEASURED = 1  # frames at the start of a turn, while caches and clocks recover from the work of others

_CELLS = (6, 24, 96)  # cells of noise along the height
_TARGET_HEIGHT = 0.2  # of the image's height
_PERIODS = (190, 130)  # of the path, along and down, in frames


class SyntheticFrames:
    """A square target on a path that stays inside the image and moves at most 8 % of its size a frame."""

    def __init__(self, size: Size):
        random = np.random.default_rng(0)
        self._width, self._height = size
        self._background = _texture(random, self._width, self._height)
        side = round(_TARGET_HEIGHT * self._height)
        self._target = _texture(random, side, side)

    def clip(self, turn: int, count: int) -> Iterator[Frame]:
        """Yield ``count`` consecutive frames, uint8 BGR, each with its box (x, y, w, h) in pixels.

        ``turn`` 0, 1, ... chooses which; equal turns give equal frames.
        """
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
    """Return noise of several cell sizes: uint8 BGR (height, width, 3)."""
    image: np.ndarray = np.full((height, width, 3), 128, np.float32)
    for cells in _CELLS:
        noise = random.normal(0, 30, (cells, max(1, cells * width // height), 3)).astype(np.float32)
        image = image + cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(image, 0, 255).astype(np.uint8)


class EngineBench:
    """One engine with one model."""

    def __init__(self, weights: str, engine: str, device: str, threads: int | None, precision: str):
        self._tracker = DyTracker.from_pretrained(
            weights, engine=engine, device=device, threads=threads, precision=precision
        )
        self.device = self._tracker.engine.device
        self._random = np.random.default_rng(0)

    def model_only(self, frames: int) -> Samples:
        """Time every exit on ``frames`` crops of noise: template, stages (the first with ``begin``), box head, exit."""
        engine = self._tracker.engine
        samples: defaultdict[tuple, list[float]] = defaultdict(list)
        for number in range(UNMEASURED + frames):
            if number == UNMEASURED:
                samples.clear()
            template = self._noise(engine.template_size)
            started = time.perf_counter()
            engine.set_template(template)
            samples["template",].append(time.perf_counter() - started)
            search = self._noise(engine.search_size)
            for exit_index in range(1, engine.exit_count + 1):
                stages, head = _run_to_exit(engine, search, exit_index)
                for stage, seconds in enumerate(stages, start=1):
                    samples["stage", stage].append(seconds)
                samples["head", exit_index].append(head)
                samples["exit", exit_index].append(sum(stages) + head)
        return dict(samples)

    def end_to_end(self, size: Size, turn: int, frames: int) -> Samples:
        """Time ``initialize``, then ``track`` on ``frames`` frames with every exit, each from the true box before."""
        tracker = self._tracker
        samples: defaultdict[tuple, list[float]] = defaultdict(list)
        clip = SyntheticFrames(size).clip(turn, 1 + UNMEASURED + frames)
        image, box = next(clip)
        samples[size, "initialize"].append(seconds_of(tracker.initialize, image, box))
        exits = range(1, tracker.exit_count + 1)
        policies = [FixedExit(exit_index) for exit_index in exits]
        for number, (image, next_box) in enumerate(clip):
            for exit_index, policy in zip(exits, policies, strict=True):
                tracker.box = box
                tracker.set_policy(policy)
                seconds = seconds_of(tracker.track, image)
                if number >= UNMEASURED:
                    samples[size, "exit", exit_index].append(seconds)
            box = next_box
        return dict(samples)

    def _noise(self, size: int) -> np.ndarray:
        return self._random.integers(0, 256, (size, size, 3), np.uint8)


def _run_to_exit(engine: Engine, search: np.ndarray, exit_index: int) -> tuple[list[float], float]:
    """Return the seconds of each stage up to an exit (1-based) and of its box head."""
    stages = []
    started = time.perf_counter()
    engine.begin(search)
    for _ in range(exit_index):
        engine.advance()
        ended = time.perf_counter()
        stages.append(ended - started)
        started = ended
    engine.locate()
    return stages, time.perf_counter() - started


def seconds_of(call: Callable, *arguments) -> float:
    """Call and return how long it took."""
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started
