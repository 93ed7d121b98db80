"""What the tracker says, for the page: messages to JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Log
from vision_msgs.msg import Detection2D

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes.messages import box_of, stamp_ns
from dytrack_ros.tracking import TrackState

# Log.WARN and its like are bytes in older distributions, and numbers in newer ones; the field is a number in all.
LEVELS = {30: "warning", 40: "error", 50: "error"}


def results_message(statuses: Iterable[TrackStatus], detections: Iterable[Detection2D]) -> dict[str, Any]:
    """Statuses and boxes, each with the stamp of its image: nanoseconds as text, JavaScript's numbers do not hold them."""
    return {
        "type": "results",
        "statuses": [_status(status) for status in statuses],
        "boxes": [_box(detection) for detection in detections],
    }


def _status(status: TrackStatus) -> dict[str, Any]:
    return {
        "stamp": str(stamp_ns(status.header)),
        "target": status.target_id,
        "state": _state(status.state),
        "exit": status.exit_index,
        "exits": status.exit_count,
        "score": _number(status.score),
        "scores": [_number(score) for score in status.exit_scores],
        "thresholds": [_number(threshold) for threshold in status.exit_thresholds],
        "latency": _number(status.latency_ms),
        "age": _number(status.image_age_ms),
        "budget": _number(status.budget_ms),
        "cut": status.deadline_cut,
        "dropped": status.frames_dropped,
    }


def _state(value: int) -> str:
    try:
        return TrackState(value).name
    except ValueError:
        return f"state {value}"


def _box(detection: Detection2D) -> dict[str, Any]:
    return {"stamp": str(stamp_ns(detection.header)), "box": [_number(value) for value in box_of(detection)]}


def diagnostics_message(node_name: str, statuses: Iterable[DiagnosticStatus]) -> dict[str, Any] | None:
    """The tasks of one node (`NAME: TASK`), None where there is none of it among them."""
    prefix = f"{node_name}: "
    tasks = {
        status.name.removeprefix(prefix): {"level": status.level[0], "text": status.message}
        for status in statuses
        if status.name.startswith(prefix)
    }
    if not tasks:
        return None
    values = {pair.key: pair.value for status in statuses if status.name == f"{prefix}input" for pair in status.values}
    return {"type": "diagnostics", "tasks": tasks, "enabled": values.get("enabled") != "False"}


def log_message(log: Log) -> dict[str, Any] | None:
    """A warning or an error; None for what is less."""
    level = LEVELS.get(log.level)
    return level and {"type": "log", "level": level, "text": log.msg}


def _number(value: float) -> float | None:
    """Short, and as JSON can hold it."""
    return round(value, 4) if math.isfinite(value) else None
