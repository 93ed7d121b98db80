"""Boxes, errors and stamps in messages, and the QoS of those that more than one node sends."""

from __future__ import annotations

from geometry_msgs.msg import PointStamped
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose

from dytrack_ros.tracking.box import Box

CLASS_ID = "target"
INIT_QOS = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=1)


def stamp_ns(header: Header) -> int:
    """A header's stamp in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def detection_message(header: Header, box: Box, score: float | None = None, target_id: str = "") -> Detection2D:
    """A box (x, y, w, h in pixels) as Detection2D, with a `target` hypothesis where there is a score in [0, 1]."""
    message = Detection2D(header=header, id=target_id)
    x, y, width, height = map(float, box)
    message.bbox.center.position.x = x + width / 2
    message.bbox.center.position.y = y + height / 2
    message.bbox.size_x = width
    message.bbox.size_y = height
    if score is not None:
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = CLASS_ID
        hypothesis.hypothesis.score = float(score)
        message.results.append(hypothesis)
    return message


def box_of(message: Detection2D) -> Box:
    """The box of a Detection2D as x, y, w, h in pixels; a rotation (`theta`) is ignored."""
    box = message.bbox
    return (box.center.position.x - box.size_x / 2, box.center.position.y - box.size_y / 2, box.size_x, box.size_y)


def error_message(header: Header, box: Box, width: int, height: int) -> PointStamped:
    """How far a box (x, y, w, h in pixels) is from the centre of its picture of `width` x `height` pixels.

    `x` (right) and `y` (down) in [-1, 1], where 1 is the picture's border; `z` is the box's share of the picture in [0, 1].
    """
    x, y, box_width, box_height = box
    message = PointStamped(header=header)
    message.point.x = _within(-1.0, (2 * x + box_width) / width - 1, 1.0)
    message.point.y = _within(-1.0, (2 * y + box_height) / height - 1, 1.0)
    message.point.z = _within(0.0, box_width * box_height / (width * height), 1.0)
    return message


def _within(low: float, value: float, high: float) -> float:
    return float(min(max(value, low), high))
