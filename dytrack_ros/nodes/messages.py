"""Boxes and stamps in messages."""

from __future__ import annotations

from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose

from dytrack_ros.tracking.box import Box

CLASS_ID = "target"


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
