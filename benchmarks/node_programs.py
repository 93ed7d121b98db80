#!/usr/bin/env python3
"""The programs that benchmarks/node.py and panel.py run as processes; the environment variable PROGRAM chooses one.

camera    publishes `image` (best effort) and `init`; its images are made before the first is sent, so it costs little
receiver  subscribes to `image` as tracker_node does, and counts what arrives
metered   tracker_node with a meter around its engine
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from dataclasses import replace
from itertools import chain, cycle

import cv2
import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D

from dytrack_ros.engines import Engine
from dytrack_ros.model.presets import DyTrackConfig
from dytrack_ros.nodes import tracker_node
from dytrack_ros.nodes.demo.scenes import SyntheticScene
from dytrack_ros.nodes.images import fill_image
from dytrack_ros.nodes.messages import detection_message, image_qos, stamp_ns
from dytrack_ros.nodes.run import RunnableNode, run
from dytrack_ros.tracking import DyTracker, TrackResult

PROGRAM_VARIABLE = "DYTRACK_BENCHMARK_PROGRAM"
STAND_IN = "stand-in"
CONVERSIONS = {"bgr8": None, "rgb8": cv2.COLOR_BGR2RGB}
QOS = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5)
# Discovery takes time on both sides; the last images lie in shared memory that ends with this process.
SETTLING_S, LINGERING_S = 1.0, 1.0
# Every second init belongs to an image of this age.
LATE_INIT_S = 0.5


class BenchmarkCamera(RunnableNode):
    """Publishes prepared images.

    Parameters: `width`, `height`, `encoding` (one of CONVERSIONS), `rate_hz`, `frames` (0: until stopped), `images`
    (prepared, played forwards and backwards), `init_every` (images between two inits; 0: one with the first image; -1:
    none).

    Starts when `image`, and `init` if it sends any, have a subscriber.
    """

    def __init__(self, **node_options) -> None:
        super().__init__("benchmark_camera", **node_options)
        # RunnableNode has declared the parameters that were given.
        value = {
            name: self.get_parameter_or(name, Parameter(name, value=default)).value
            for name, default in {
                "width": 1280,
                "height": 720,
                "encoding": "bgr8",
                "rate_hz": 30.0,
                "frames": 0,
                "images": 10,
                "init_every": -1,
            }.items()
        }
        self.finished = False
        self._frames, self._init_every = value["frames"], value["init_every"]
        self._prepared = cycle(
            _there_and_back(**{key: value[key] for key in ("width", "height", "encoding", "images")})
        )
        self._sent: deque[tuple[Header, tuple]] = deque(maxlen=1 + round(LATE_INIT_S * value["rate_hz"]))
        self._count = self._inits = 0
        self._started_s = self._last_s = 0.0
        self._image = self.create_publisher(Image, "image", QOS)
        self._init = self.create_publisher(Detection2D, "init", 1)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(0.05, self._wait, clock=self._steady)
        self._wait_until_s: float | None = None
        self._period_s = 1 / value["rate_hz"]

    def _wait(self) -> None:
        met = self._image.get_subscription_count() and (self._init_every < 0 or self._init.get_subscription_count())
        if not met:
            self._wait_until_s = None
        elif self._wait_until_s is None:
            self._wait_until_s = time.monotonic() + SETTLING_S
        elif time.monotonic() > self._wait_until_s:
            self.destroy_timer(self._timer)
            self._timer = self.create_timer(self._period_s, self._tick, clock=self._steady)

    def _tick(self) -> None:
        message, box = next(self._prepared)
        message.header = Header(stamp=self.get_clock().now().to_msg(), frame_id="camera")
        self._image.publish(message)
        self._sent.append((message.header, box))
        self._last_s = time.monotonic()
        self._started_s = self._started_s or self._last_s
        if self._count == 0 <= self._init_every or (self._init_every > 0 and self._count % self._init_every == 0):
            # The newest and an older one in turn.
            self._init.publish(detection_message(*self._sent[-1 if self._inits % 2 == 0 else 0]))
            self._inits += 1
        self._count += 1
        if self._count == self._frames:
            self.destroy_timer(self._timer)
            self._timer = self.create_timer(LINGERING_S, self._finish, clock=self._steady)

    def _finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        """Print the number of images and inits, and the seconds from the first image to the last."""
        seconds = self._last_s - self._started_s
        print(json.dumps({"images": self._count, "inits": self._inits, "seconds": round(seconds, 3)}), flush=True)


def _there_and_back(width: int, height: int, encoding: str, images: int) -> list[tuple[Image, tuple]]:
    """Return image messages without a header, each with the target's box (x, y, w, h)."""
    scene, made = SyntheticScene(width, height), []
    for index in range(images):
        image, box = scene.frame(index)
        conversion = CONVERSIONS[encoding]
        message = Image()
        fill_image(message, image if conversion is None else cv2.cvtColor(image, conversion))
        message.encoding = encoding
        made.append((message, box))
    return list(chain(made, made[-2:0:-1]))


class Receiver(RunnableNode):
    """Counts the images that arrive."""

    def __init__(self, **node_options) -> None:
        super().__init__("benchmark_receiver", **node_options)
        self._ages_ms: list[float] = []
        self.create_subscription(Image, "image", self._on_image, image_qos())

    def _on_image(self, message: Image) -> None:
        self._ages_ms.append((time.time_ns() - stamp_ns(message.header)) * 1e-6)

    def close(self) -> None:
        """Print the number of images and their ages in milliseconds, from stamp to callback."""
        print(json.dumps({"images": len(self._ages_ms), "ages_ms": self._ages_ms}), flush=True)


class StandIn(Engine):
    """Answers at once with a score of 0.9 and a box of unchanged size in the middle of the search region."""

    name, device = STAND_IN, "none"

    def __init__(self) -> None:
        super().__init__(DyTrackConfig())
        grid = DyTrackConfig().search_grid
        corners = [round(grid * (0.5 + side / self.search_factor)) for side in (-0.5, 0.5)]
        heat = np.full((2, grid, grid), -np.inf, np.float32)
        for corner, cell in zip(heat, corners, strict=True):
            corner[cell - 1 : cell + 1, cell - 1 : cell + 1] = np.log(0.25)  # the four cells round the corner
        self._heat_maps = heat

    def _take_template(self, template: np.ndarray) -> None:
        pass

    def _take_search(self, search: np.ndarray) -> None:
        pass

    def _run_stage(self, position: int) -> float:
        return 0.9

    def _run_head(self, position: int) -> np.ndarray:
        return self._heat_maps


class MeteredEngine:
    """An engine that appends the seconds of each call to `spent_s`: stages (the first with `begin`), box head."""

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
    """A tracker with the engine's own times as `stage_seconds`.

    `latency_ms` less the sum of `stage_ms` is then the time of the node apart from its engine.
    """

    def __init__(self, engine: Engine, *args, **kwargs) -> None:
        super().__init__(MeteredEngine(engine), *args, **kwargs)

    @classmethod
    def from_pretrained(cls, model: str | None = None, **options) -> DyTracker:
        return cls(StandIn()) if model == STAND_IN else super().from_pretrained(model, **options)

    def track(self, image_bgr: np.ndarray) -> TrackResult:
        self.engine.spent_s.clear()
        result = super().track(image_bgr)
        return replace(result, stage_seconds=tuple(self.engine.spent_s))


def metered_tracker_node() -> None:
    """Run tracker_node with a metered engine; with the parameter `model` = `stand-in` it answers at once."""
    tracker_node.DyTracker = MeteredTracker
    tracker_node.main()


if __name__ == "__main__":
    program = os.environ[PROGRAM_VARIABLE]
    if program == "metered":
        metered_tracker_node()
    sys.exit(run({"camera": BenchmarkCamera, "receiver": Receiver}[program]))
