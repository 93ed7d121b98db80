"""Draws for those who watch, on a thread of its own: whatever it takes, it takes from no frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import ImageMarker

from dytrack_ros.nodes import images, overlay
from dytrack_ros.nodes.annotation import Annotation
from dytrack_ros.nodes.mailbox import Mailbox
from dytrack_ros.nodes.markers import marker_message
from dytrack_ros.nodes.worker import Worker
from dytrack_ros.tracking.image import ImageView

OVERLAY_QOS = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=1)
# Reliable serves every viewer; a few lines cost next to nothing.
MARKERS_QOS = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=1)
# Where the network keeps all cores busy, as within a tight budget, it goes on at nearly its full speed.
NICENESS = 10


class _Sketch(NamedTuple):
    header: Header
    picture: ImageView
    annotation: Annotation


class Drawing:
    """The topics `overlay` and `markers` of a node, each made only while somebody listens to it.

    One sketch waits at most: where drawing is slower than tracking, pictures are left out, and no frame waits for one.
    """

    def __init__(self, node: Node, on_error: Callable[[Exception], None]) -> None:
        """`on_error` is told, in the drawing thread, why a sketch could not be drawn."""
        self._overlay = node.create_publisher(Image, "overlay", OVERLAY_QOS)
        self._markers = node.create_publisher(ImageMarker, "markers", MARKERS_QOS)
        self._mailbox: Mailbox[_Sketch] = Mailbox()
        self._worker = Worker("drawing", self._mailbox, self._draw, on_error, NICENESS)

    def start(self) -> None:
        self._worker.start()

    def end(self, timeout_s: float) -> None:
        """Finish the sketch under work and end; does not wait longer than `timeout_s`."""
        self._worker.end(timeout_s)

    def show(self, header: Header, picture: ImageView, annotation: Annotation) -> None:
        """Have a frame drawn, if anybody watches; returns at once."""
        if self._overlay.get_subscription_count() or self._markers.get_subscription_count():
            self._mailbox.put(_Sketch(header, picture, annotation))

    def _draw(self, sketch: _Sketch | None) -> None:
        if sketch is None:
            return
        if self._markers.get_subscription_count():
            self._markers.publish(marker_message(sketch.header, sketch.annotation))
        if self._overlay.get_subscription_count():
            picture = sketch.picture.bgr().copy()  # the original may be a view of the message, which is kept for init
            overlay.draw(picture, sketch.annotation)
            message = Image(header=sketch.header)
            images.fill_image(message, picture)
            self._overlay.publish(message)
