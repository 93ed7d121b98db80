"""Conversion between tracking results and ROS messages, and the QoS profile of each topic."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PointStamped
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose

from dytrack_ros.msg import InitReply, TrackStatus
from dytrack_ros.nodes.budget import NodeBudget
from dytrack_ros.nodes.follower import InitAnswer, Outcome
from dytrack_ros.policies import ExitReason
from dytrack_ros.tracking.box import Box

CLASS_ID = "target"


def _keep_last(reliability: ReliabilityPolicy, depth: int) -> QoSProfile:
    return QoSProfile(reliability=reliability, history=HistoryPolicy.KEEP_LAST, depth=depth)


INIT_QOS = _keep_last(ReliabilityPolicy.RELIABLE, 1)
# detection, status, init_reply and target_offset.
RESULT_QOS = _keep_last(ReliabilityPolicy.RELIABLE, 10)
OVERLAY_QOS = _keep_last(ReliabilityPolicy.BEST_EFFORT, 1)
# A few lines a frame: reliable delivery is cheap and compatible with every viewer.
MARKERS_QOS = _keep_last(ReliabilityPolicy.RELIABLE, 1)


def image_qos() -> QoSProfile:
    """Return a new copy of the sensor data profile (rclpy writes `qos_overrides` into the profile that it is given).

    Best effort is compatible with every publisher. The depth of 5 only bridges moments in which the executor is busy.
    """
    return copy.copy(qos_profile_sensor_data)


def stamp_ns(header: Header) -> int:
    """Return the stamp of a header in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def detection_message(header: Header, box: Box, score: float | None = None, target_id: str = "") -> Detection2D:
    """Make a Detection2D of a box (x, y, w, h in pixels).

    With a `score` in [0, 1] the message has one hypothesis of class `target`; without one it has none.
    """
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
    """Return the box of a Detection2D as x, y, w, h in pixels; its rotation (`theta`) is ignored."""
    box = message.bbox
    return (box.center.position.x - box.size_x / 2, box.center.position.y - box.size_y / 2, box.size_x, box.size_y)


def target_offset_message(header: Header, box: Box, width: int, height: int) -> PointStamped:
    """Make the offset of a box (x, y, w, h in pixels) from the centre of its image of `width` x `height` pixels.

    `x` (right) and `y` (down) are in [-1, 1], where 1 is the image border; `z` is the share of the image area that the
    box covers, in [0, 1].
    """
    x, y, box_width, box_height = box
    message = PointStamped(header=header)
    message.point.x = _clamp((2 * x + box_width) / width - 1, -1.0, 1.0)
    message.point.y = _clamp((2 * y + box_height) / height - 1, -1.0, 1.0)
    message.point.z = _clamp(box_width * box_height / (width * height), 0.0, 1.0)
    return message


def diagnostics_message(node_name: str, tasks: Mapping[str, tuple[bytes, str, Mapping[str, Any]]]) -> DiagnosticArray:
    """Make the statuses of a node, without a stamp: of each task its level, message and values."""
    return DiagnosticArray(
        status=[
            DiagnosticStatus(
                level=level,
                name=f"{node_name}: {task}",
                message=message,
                hardware_id=node_name,
                values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
            )
            for task, (level, message, values) in tasks.items()
        ]
    )


def init_reply_message(answer: InitAnswer) -> InitReply:
    """Make the reply to an init: accepted with the target's id, or refused with the reason."""
    return InitReply(
        header=answer.init.header or Header(),
        accepted=answer.accepted,
        target_id=answer.target_id,
        reason=answer.reason,
    )


def status_message(
    outcome: Outcome, exit_count: int, budget: NodeBudget, frames_dropped: int, now_ns: int
) -> TrackStatus:
    """Make the status of a frame; call it right before publishing, with the node's clock in nanoseconds.

    `image_age_ms` is NaN if the camera does not stamp its images. `budget` must not have prepared another frame yet.
    """
    header = outcome.frame.message.header
    stamp = stamp_ns(header)
    terms = budget.terms
    status = TrackStatus(
        header=header,
        target_id=outcome.target_id,
        state=int(outcome.state),
        exit_count=exit_count,
        score=float(outcome.score),
        exit_thresholds=list(terms.thresholds),
        exit_thresholds_asked=list(terms.asked_thresholds),
        latency_ms=(time.monotonic() - outcome.frame.received_s) * 1e3,
        image_age_ms=(now_ns - stamp) * 1e-6 if stamp else float("nan"),
        budget_ms=terms.budget_s * 1e3,
        thrift=terms.thrift,
        slowdown=terms.slowdown,
        frames_dropped=frames_dropped,
    )
    if outcome.result is not None:
        status.exit_index = outcome.result.exit_index
        reason = ExitReason.LAST_EXIT if status.exit_index == exit_count else budget.reason
        status.decided_by = reason.value
        status.deadline_cut = reason is ExitReason.DEADLINE
        status.exit_scores = [float(score) for score in outcome.result.exit_scores]
        status.stage_ms = [seconds * 1e3 for seconds in outcome.result.stage_seconds]
    return status


def _clamp(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))
