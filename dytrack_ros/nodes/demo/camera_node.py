"""A camera for trials: publishes a clip, a webcam or a synthetic scene as `image`, and the true boxes as `truth`."""

from __future__ import annotations

import sys
import time
from itertools import chain
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, UInt32
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes import images
from dytrack_ros.nodes.demo.camera_sources import SourceError, open_source
from dytrack_ros.nodes.demo.scenes import SourceFrame
from dytrack_ros.nodes.messages import detection_message
from dytrack_ros.nodes.parameter_schema import LiveParameters, Parameter
from dytrack_ros.nodes.run import RunnableNode, run
from dytrack_ros.tracking.box import Box, check_init_box

PARAMETERS = (
    Parameter(
        "source",
        "synthetic",
        "Video file, folder of images, webcam (number or /dev/video0), or synthetic: a moving textured target.",
        read_only=True,
    ),
    Parameter(
        "rate_hz",
        30.0,
        "Frames a second; a webcam gives its own rate where that is lower.",
        0.1,
        1000.0,
        read_only=True,
    ),
    Parameter("loop", False, "Start again at the end of the clip instead of ending the node.", read_only=True),
    Parameter(
        "frames",
        0,
        "End (or loop) after this many frames; 0: the whole clip (synthetic: 300 frames).",
        0,
        10_000_000,
        read_only=True,
    ),
    Parameter("synthetic.width", 640, "Width of the synthetic scene, pixels.", 64, 7680, read_only=True),
    Parameter("synthetic.height", 480, "Height of the synthetic scene, pixels.", 64, 4320, read_only=True),
    Parameter(
        "synthetic.seed",
        0,
        "The synthetic scene's textures and motion follow from this number.",
        0,
        2**31 - 1,
        read_only=True,
    ),
    Parameter("frame_id", "camera", "frame_id in every header.", read_only=True),
    Parameter(
        "publish_init",
        False,
        "Publish init for the clip's first frame: init_box, or the truth where that is all 0.",
        read_only=True,
    ),
    Parameter(
        "init_box",
        (0.0, 0.0, 0.0, 0.0),
        "The target on the first frame as x, y, width, height in pixels.",
        read_only=True,
    ),
    Parameter(
        "start_when_subscribed",
        0,
        "Wait with the first frame until image has this many subscribers.",
        0,
        100,
        read_only=True,
    ),
)

# Reliable is compatible with reliable and best-effort subscribers; with keep-last it never waits for a slow one.
IMAGE_QOS = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10)
COUNT_QOS = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

# A subscriber that this node has discovered may not have discovered this node yet, and would miss images.
SETTLING_S = 0.5
# The last images are in shared memory that ends with this process: subscribers need time to read them.
LINGERING_S = 0.5


class CameraNode(RunnableNode):
    """Publishes `image` (also `image/compressed` while somebody listens), `truth`, `init` and `frames_published`.

    `truth` is a Detection2D with the header of its image; its `results` are empty where the target is absent.

    Attributes:
        finished: the clip is over and sent.
        exit_code: 1 if the source failed.

    Raises:
        ValueError: a refused parameter value, a source that cannot be opened, or an init box outside its first frame.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("camera_node", **node_options)
        self._values = values = LiveParameters(self, PARAMETERS)
        self._source = open_source(
            values["source"],
            values["frames"],
            values["synthetic.width"],
            values["synthetic.height"],
            values["synthetic.seed"],
        )
        self._pictures = iter(self._source)
        if values["publish_init"]:
            first = next(self._pictures)
            height, width = first.image.shape[:2]
            check_init_box(self._init_box(first), width, height)
            self._pictures = chain([first], self._pictures)
        self._published = 0
        self._skipped = 0
        self._started = values["start_when_subscribed"] == 0
        self._subscribed_since_s: float | None = None
        self._pending_init: Detection2D | None = None

        self._image = self.create_publisher(Image, "image", IMAGE_QOS)
        self._compressed = self.create_publisher(CompressedImage, self._image.topic_name + "/compressed", IMAGE_QOS)
        self._truth = self.create_publisher(Detection2D, "truth", IMAGE_QOS) if self._source.knows_truth else None
        self._init = self.create_publisher(Detection2D, "init", 1) if values["publish_init"] else None
        self._count = self.create_publisher(UInt32, "frames_published", COUNT_QOS)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1 / values["rate_hz"], self._tick, clock=self._steady)
        self.get_logger().info(f"{values['source']} at {values['rate_hz']:g} Hz on {self._image.topic_name}")

    def _tick(self) -> None:
        if not self._subscribers_are_ready():
            return
        try:
            over = not self._publish_next()
        except SourceError as error:
            self.get_logger().error(str(error))
            self.exit_code = 1
            over = True
        if over:
            self._end()

    def _subscribers_are_ready(self) -> bool:
        """Return whether there are enough subscribers, and have been for SETTLING_S."""
        if self._started:
            return True
        subscribers = self._image.get_subscription_count() + self._compressed.get_subscription_count()
        if subscribers < self._values["start_when_subscribed"]:
            self._subscribed_since_s = None
        elif self._subscribed_since_s is None:
            self._subscribed_since_s = time.monotonic()
        else:
            self._started = time.monotonic() - self._subscribed_since_s >= SETTLING_S
        return self._started

    def _publish_next(self) -> bool:
        """Publish the next frame; return False if there is none left."""
        is_first = self._published == 0
        picture = next(self._pictures, None)
        if picture is None and self._values["loop"]:
            self._pictures = iter(self._source)
            picture, is_first = next(self._pictures, None), True
        if self._source.skipped > self._skipped:
            self.get_logger().warning(f"{self._source.skipped - self._skipped} frames cannot be decoded; skipped")
            self._skipped = self._source.skipped
        if picture is None:
            return False
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._values["frame_id"])
        self._publish(picture, header)
        if is_first and self._init:
            self._pending_init = detection_message(header, self._init_box(picture))
        if self._init and self._pending_init and self._init.get_subscription_count():
            self._init.publish(self._pending_init)
            self._pending_init = None
        return True

    def _publish(self, picture: SourceFrame, header: Header) -> None:
        message = Image(header=header)
        images.fill_image(message, picture.image)
        self._image.publish(message)
        if self._compressed.get_subscription_count():
            compressed = CompressedImage(header=header)
            images.fill_compressed(compressed, picture.image)
            self._compressed.publish(compressed)
        if self._truth:
            self._truth.publish(
                detection_message(header, picture.truth, 1.0) if picture.truth else Detection2D(header=header)
            )
        self._published += 1
        self._count.publish(UInt32(data=self._published))

    def _init_box(self, picture: SourceFrame) -> Box:
        box = self._values["init_box"] if any(self._values["init_box"]) else picture.truth
        if box is None:
            raise SourceError("publish_init needs init_box x, y, width, height: the source has no true box there")
        return box

    def _end(self) -> None:
        self._timer.cancel()
        self.get_logger().info(f"the clip is over: {self._published} images published, {self._source.skipped} skipped")
        self.create_timer(LINGERING_S, self._finish, clock=self._steady)

    def _finish(self) -> None:
        self.finished = True


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run dytrack_ros camera_node`; returns the exit code."""
    return run(CameraNode, args)


if __name__ == "__main__":
    sys.exit(main())
