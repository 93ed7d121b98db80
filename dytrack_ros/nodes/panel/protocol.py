"""The WebSocket messages of the page: requests, checked field by field, and what the tracker says, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Log
from vision_msgs.msg import Detection2D

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes.messages import box_of, stamp_ns
from dytrack_ros.policies import ExitReason
from dytrack_ros.tracking import TrackState

# ROS stamps have 32 bits of seconds.
MAX_STAMP_NS = 2**31 * 1_000_000_000
MAX_TEXT_LENGTH = 1024


class RequestError(ValueError):
    """A message that is not a valid request; the text says what was given and what is allowed."""


Request = dict[str, Any]

# The fields of each type of request.
_FIELDS: dict[str, dict[str, type]] = {
    "look": {"looking": bool, "width": int},  # whether the page is visible, and how many pixels wide its picture is
    "shown": {},  # the page has drawn a picture and can take another
    "start": {"stamp": str, "box": list},  # follow the target in the box on the image of this stamp
    "stop": {},  # forget the target
    "enable": {"enabled": bool},  # process images, or ignore them
    "set": {"name": str},  # set one of the tracker's parameters, to a `value`
}
_KIND_NAMES = {bool: "true or false", int: "an integer", str: "a text", list: "a list"}


def parse(text: str) -> Request:
    """Return the request in a text message: its `type` and that type's fields, checked.

    `stamp` is an integer then, in nanoseconds, and `box` four floats x, y, w, h in pixels of the full image.

    Raises:
        RequestError: not a JSON object, an unknown `type`, or a missing or wrong field.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError("a message must be a JSON object") from error
    if not isinstance(fields, dict):
        raise RequestError(f"a message must be a JSON object, not {repr(fields)[:40]}")
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise RequestError(f"type must be one of {', '.join(_FIELDS)}, not {repr(kind)[:40]}")
    request: Request = {"type": kind}
    for name, wanted in _FIELDS[kind].items():
        request[name] = value = fields.get(name)
        if type(value) is not wanted:
            raise RequestError(f"{name} must be {_KIND_NAMES[wanted]}, not {repr(value)[:40]}")
    if kind == "look":
        request["width"] = max(1, min(request["width"], 100_000))
    elif kind == "start":
        request |= {"stamp": _stamp(request["stamp"]), "box": _box_of(request["box"])}
    elif kind == "set":
        request |= {"name": _text(request["name"], "name"), "value": _value(fields.get("value"))}
    return request


def _stamp(stamp: str) -> int:
    # A text: JavaScript's numbers do not hold nanoseconds.
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 20 and int(stamp) < MAX_STAMP_NS):
        raise RequestError(f"stamp must be nanoseconds in decimals, less than {MAX_STAMP_NS}, not {stamp[:40]!r}")
    return int(stamp)


def _box_of(box: list[Any]) -> tuple[float, ...]:
    if len(box) != 4 or not all(_is_number(value) for value in box):
        raise RequestError(f"box must be four finite numbers x, y, width, height, not {repr(box)[:80]}")
    return tuple(map(float, box))


def _value(value: Any) -> Any:
    if not (isinstance(value, (bool, str)) or _is_number(value)):
        raise RequestError(f"value must be a boolean, a finite number or a text, not {repr(value)[:40]}")
    return _text(value, "value")


def _text(value: Any, name: str) -> Any:
    """Return the value. Raise RequestError for a text that a ROS message cannot hold."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT_LENGTH:
            raise RequestError(f"{name} has {len(value)} characters, at most {MAX_TEXT_LENGTH} are allowed")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise RequestError(f"{name} has characters that are not Unicode text")
    return value


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


# The constants of Log are bytes in older distributions and numbers in newer ones; the field is always a number.
LEVELS = {30: "warning", 40: "error", 50: "error"}


def results_message(statuses: Iterable[TrackStatus], detections: Iterable[Detection2D]) -> dict[str, Any]:
    """Return statuses and boxes, each with the stamp of its image as a text of nanoseconds."""
    return {
        "type": "results",
        "statuses": [_status(status) for status in statuses],
        "boxes": [_box(detection) for detection in detections],
    }


def _status(status: TrackStatus) -> dict[str, Any]:
    return {
        "stamp": str(stamp_ns(status.header)),
        "target": status.target_id,
        "state": _name(TrackState, status.state),
        "exit": status.exit_index,
        "exits": status.exit_count,
        "score": _number(status.score),
        "scores": [_number(score) for score in status.exit_scores],
        "thresholds": [_number(threshold) for threshold in status.exit_thresholds],
        "asked": [_number(threshold) for threshold in status.exit_thresholds_asked],
        "decided_by": _name(ExitReason, status.decided_by),
        "latency": _number(status.latency_ms),
        "age": _number(status.image_age_ms),
        "budget": _number(status.budget_ms),
        "dropped": status.frames_dropped,
    }


def _name(names: type[TrackState] | type[ExitReason], value: int) -> str:
    try:
        return names(value).name
    except ValueError:
        return f"unknown ({value})"


def _box(detection: Detection2D) -> dict[str, Any]:
    return {"stamp": str(stamp_ns(detection.header)), "box": [_number(value) for value in box_of(detection)]}


def diagnostics_message(node_name: str, statuses: Iterable[DiagnosticStatus]) -> dict[str, Any] | None:
    """Return the tasks of one node (`NAME: TASK`), None if there are none."""
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
    """Return a warning or an error; None for lower levels."""
    level = LEVELS.get(log.level)
    return {"type": "log", "level": level, "text": log.msg} if level else None


def _number(value: float) -> float | None:
    """Round; JSON has no infinity and no NaN."""
    return round(value, 4) if math.isfinite(value) else None
