#!/usr/bin/env python3
"""tracker_node, whose `stage_ms` is the time inside the engine's `begin`, `advance` and `locate` alone.

`latency_ms` less the sum of `stage_ms` is then the time of the node apart from its engine.
"""

import time
from dataclasses import replace

from dytrack_ros.nodes import tracker_node
from dytrack_ros.tracking import DyTracker


class MeteredEngine:
    """An engine that appends the seconds of each call to `spent_s`."""

    def __init__(self, engine):
        self._engine = engine
        self.spent_s = []

    def __getattr__(self, name):
        member = getattr(self._engine, name)
        if name not in ("begin", "advance", "locate"):
            return member

        def timed(*arguments):
            started_s = time.perf_counter()
            try:
                return member(*arguments)
            finally:
                self.spent_s.append(time.perf_counter() - started_s)

        return timed


class MeteredTracker(DyTracker):
    """A tracker whose results have the engine's own times as `stage_seconds`."""

    def __init__(self, engine, *args, **kwargs):
        super().__init__(MeteredEngine(engine), *args, **kwargs)

    def track(self, image_bgr):
        self.engine.spent_s.clear()
        return replace(super().track(image_bgr), stage_seconds=tuple(self.engine.spent_s))


if __name__ == "__main__":
    tracker_node.DyTracker = MeteredTracker
    tracker_node.main()
