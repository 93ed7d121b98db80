#!/usr/bin/env python3
"""A camera that costs next to nothing, for benchmarks/node.py: its pictures are made before the first is sent.

Publishes `image` by best effort, and `init` for the target in it. Says at its end how many images it sent.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from itertools import chain, cycle

import cv2
from rclpy.clock import Clock, ClockType
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.demo.scenes import SyntheticScene
from dytrack_ros.nodes.images import fill_image
from dytrack_ros.nodes.messages import detection_message
from dytrack_ros.nodes.run import RunnableNode, run

CONVERSIONS = {"bgr8": None, "rgb8": cv2.COLOR_BGR2RGB}
QOS = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5)
# Both sides of a connection must know of each other before images arrive; and the last ones lie in shared memory that
# goes with this process.
SETTLING_S, LINGERING_S = 1.0, 1.0
# Every second init is drawn on an image that is as old as this.
LATE_INIT_S = 0.5


class BenchmarkCamera(RunnableNode):
    """Parameters: `width`, `height`, `encoding` (one of CONVERSIONS), `rate_hz`, `frames` (0: until it is stopped),
    `pictures` (played forwards and backwards), `init_every` (images between two inits; 0: one with the first image;
    -1: none).

    It begins when `image`, and `init` if it is to send any, have a subscriber.
    """

    def __init__(self, **node_options) -> None:
        super().__init__("benchmark_camera", **node_options)
        value = {
            name: self.declare_parameter(name, default).value
            for name, default in {
                "width": 1280,
                "height": 720,
                "encoding": "bgr8",
                "rate_hz": 30.0,
                "frames": 0,
                "pictures": 10,
                "init_every": -1,
            }.items()
        }
        self.finished = False
        self._frames, self._init_every = value["frames"], value["init_every"]
        self._pictures = cycle(
            _there_and_back(**{key: value[key] for key in ("width", "height", "encoding", "pictures")})
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
        message, box = next(self._pictures)
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
        """Tell how many images were sent, in how many seconds from the first to the last."""
        seconds = self._last_s - self._started_s
        print(json.dumps({"images": self._count, "inits": self._inits, "seconds": round(seconds, 3)}), flush=True)


def _there_and_back(width: int, height: int, encoding: str, pictures: int) -> list[tuple[Image, tuple]]:
    """Image messages without a header, and the target's box (x, y, w, h) in each."""
    scene, made = SyntheticScene(width, height), []
    for index in range(pictures):
        picture, box = scene.frame(index)
        conversion = CONVERSIONS[encoding]
        message = Image()
        fill_image(message, picture if conversion is None else cv2.cvtColor(picture, conversion))
        message.encoding = encoding
        made.append((message, box))
    return list(chain(made, made[-2:0:-1]))


if __name__ == "__main__":
    sys.exit(run(BenchmarkCamera))
