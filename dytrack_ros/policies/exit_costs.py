"""The self-benchmark at start-up: what every exit costs on this machine."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from dytrack_ros.engines.registry import Engine
from dytrack_ros.policies.latency_model import ExitCosts
from dytrack_ros.tracking.crop import CropWindow

MIN_REPEATS, MAX_REPEATS = 3, 15
IMAGE_SIZE = (480, 640)


def measure_exit_costs(engine: Engine, has_target: bool = False, seconds: float = 1.0) -> ExitCosts:
    """Median seconds of every stage (the first with its crop) and of a box head, over about ``seconds`` of full-depth frames
    of noise.

    Without ``has_target`` the engine is given a template of noise first.
    """
    noise = np.random.default_rng(0)
    if not has_target:
        engine.set_template(noise.integers(0, 256, (engine.template_size, engine.template_size, 3), np.uint8))
    image = noise.integers(0, 256, (*IMAGE_SIZE, 3), np.uint8)
    window = CropWindow(0, 0, min(IMAGE_SIZE))
    stages: list[list[float]] = [[] for _ in range(engine.exit_count)]
    heads: list[float] = []
    ending = time.perf_counter() + seconds
    while len(heads) < MIN_REPEATS or (time.perf_counter() < ending and len(heads) < MAX_REPEATS):
        started = time.perf_counter()
        engine.begin(window.cut(image, engine.search_size))
        for stage in stages:
            engine.advance()
            stage.append(time.perf_counter() - started)
            started = time.perf_counter()
        engine.locate()
        heads.append(time.perf_counter() - started)
    return ExitCosts(tuple(median(stage) for stage in stages), median(heads))
