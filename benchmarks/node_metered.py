#!/usr/bin/env python3
"""tracker_node with a meter around its engine, for benchmarks/node.py.

It is the installed node but for one thing: `stage_ms` in its status holds the milliseconds of every call to the engine
(begin and the first stage together, the other stages, the box head), so that `latency_ms` less their sum is what the
node takes beside its engine. With the parameter `model` set to `stand-in` the engine is one that answers at once.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from dytrack_ros.engines.base import StagedEngine
from dytrack_ros.engines.registry import Engine
from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.nodes import tracker_node
from dytrack_ros.tracking import DyTracker, TrackResult

STAND_IN = "stand-in"


class StandIn(StagedEngine):
    """Answers at once that the target is sure and in the middle of the search region, as large as before."""

    name, device = STAND_IN, "none"

    def __init__(self) -> None:
        super().__init__(DyTrackConfig())
        half = 0.5 / self.search_factor
        self._box = np.array([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half], np.float32)

    def _take_template(self, template: np.ndarray) -> None:
        pass

    def _take_search(self, search: np.ndarray) -> None:
        pass

    def _run_stage(self, position: int) -> float:
        return 0.9

    def _run_head(self, position: int) -> np.ndarray:
        return self._box


class MeteredEngine:
    """An engine, and the seconds that each of its calls has taken since `spent_s` was last emptied."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.spent_s: list[float] = []

    def __getattr__(self, name: str):
        return getattr(self._engine, name)

    def begin(self, search: np.ndarray) -> None:
        self._begin_s = self._timed(self._engine.begin, search)[1]

    def advance(self) -> float:
        score, seconds = self._timed(self._engine.advance)
        self.spent_s.append(seconds + self._begin_s)
        self._begin_s = 0.0
        return score

    def locate(self) -> np.ndarray:
        box, seconds = self._timed(self._engine.locate)
        self.spent_s.append(seconds)
        return box

    @staticmethod
    def _timed(call, *arguments) -> tuple:
        started_s = time.perf_counter()
        answer = call(*arguments)
        return answer, time.perf_counter() - started_s


class MeteredTracker(DyTracker):
    """Gives the engine's own seconds as `stage_seconds`."""

    def __init__(self, engine: Engine, *args, **kwargs) -> None:
        super().__init__(MeteredEngine(engine), *args, **kwargs)

    @classmethod
    def from_pretrained(cls, model: str | None = None, **options) -> DyTracker:
        return cls(StandIn()) if model == STAND_IN else super().from_pretrained(model, **options)

    def track(self, image_bgr: np.ndarray) -> TrackResult:
        self.engine.spent_s.clear()
        result = super().track(image_bgr)
        return replace(result, stage_seconds=tuple(self.engine.spent_s))


if __name__ == "__main__":
    tracker_node.DyTracker = MeteredTracker
    tracker_node.main()
