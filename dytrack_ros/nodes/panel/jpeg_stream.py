"""Converts images to small JPEGs for the page, only as many as the pages take."""

from __future__ import annotations

import struct
from collections.abc import Callable

import cv2
import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dytrack_ros.nodes import images
from dytrack_ros.nodes.messages import stamp_ns

# Only the newest image is used. Best effort is compatible with every camera.
QOS = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=1)
# Before the JPEG: the stamp in nanoseconds, width and height of the full image.
PACKET_HEAD = struct.Struct("<QII")


class PacedGroup(MutuallyExclusiveCallbackGroup):
    """Lets the executor take one message each time that it is opened.

    While it is closed the executor does not wait for its subscription: images that no page takes are not copied out of
    the middleware, which keeps the newest.
    """

    is_open = False

    def can_execute(self, entity) -> bool:
        return self.is_open and super().can_execute(entity)


class JpegStream:
    """The image topic, subscribed to only between `begin` and `end`.

    Attributes:
        header: of the last image, None before the first; an init carries its frame_id.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[], tuple[int, int]],
        show: Callable[[bytes], None],
        refuse: Callable[[str], None],
    ) -> None:
        """
        Args:
            settings: returns the greatest width in pixels and the quality (0 to 100) of a JPEG.
            show: takes a packet: PACKET_HEAD, then the JPEG.
            refuse: takes a sentence about an image that cannot be read.
        """
        self.header: Header | None = None
        self._node = node
        self._settings = settings
        self._show = show
        self._refuse = refuse
        self._group = PacedGroup()
        self._subscription: Subscription | None = None

    def begin(self, topic: str, is_compressed: bool) -> None:
        """Subscribe to a topic of raw or compressed images."""
        self.end()
        self._open = images.open_compressed if is_compressed else images.open_image
        message_type = CompressedImage if is_compressed else Image
        self._subscription = self._node.create_subscription(
            message_type, topic, self._on_image, QOS, callback_group=self._group
        )

    def end(self) -> None:
        """End the subscription."""
        self._group.is_open = False
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def take_next(self) -> None:
        """Take the newest image, as soon as there is one."""
        self._group.is_open = True

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._group.is_open = False
        try:
            packet = pack(stamp_ns(message.header), self._open(message).bgr(), *self._settings())
        except images.UnreadableImageError as error:
            self._refuse(str(error))
            return
        self.header = message.header
        self._show(packet)


def pack(stamp: int, bgr: np.ndarray, max_width: int, quality: int) -> bytes:
    """Return an image (uint8 BGR, HxWx3) as a packet for the page, at most ``max_width`` pixels wide."""
    height, width = bgr.shape[:2]
    scale = min(1.0, max_width / width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        # Averaging (INTER_AREA) looks better below half the size; above, it costs more time than the JPEG.
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA if scale <= 0.5 else cv2.INTER_LINEAR)
    _, jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return PACKET_HEAD.pack(max(stamp, 0), width, height) + jpeg.tobytes()
