"""The WebSocket messages of the page: requests, checked field by field, and what the tracker says, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Look:
    """Whether the page is visible, and how many pixels wide its picture is."""

    looking: bool
    width: int


@dataclass(frozen=True)
class Shown:
    """The page has drawn a picture and can take another."""


@dataclass(frozen=True)
class Start:
    """Follow the target in `box` (x, y, w, h in pixels of the full image) on the image stamped `stamp_ns`."""

    stamp_ns: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Stop:
    """Forget the target."""


@dataclass(frozen=True)
class Enable:
    """Let the tracker process images, or ignore them."""

    enabled: bool


@dataclass(frozen=True)
class SetParameter:
    """Set one of the tracker's parameters."""

    name: str
    value: bool | int | float | str


Request = Look | Shown | Start | Stop | Enable | SetParameter


def parse(text: str) -> Request:
    """Return the request in a text message.

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
    if not isinstance(kind, str) or kind not in _READERS:
        raise RequestError(f"type must be one of {', '.join(_READERS)}, not {repr(kind)[:40]}")
    return _READERS[kind](fields)


def _look(fields: dict[str, Any]) -> Look:
    return Look(_field(fields, "looking", bool), max(1, min(_field(fields, "width", int), 100_000)))


def _start(fields: dict[str, Any]) -> Start:
    stamp = _field(fields, "stamp", str)  # JavaScript's numbers do not hold nanoseconds
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 20 and int(stamp) < MAX_STAMP_NS):
        raise RequestError(f"stamp must be nanoseconds in decimals, less than {MAX_STAMP_NS}, not {stamp[:40]!r}")
    box = _field(fields, "box", list)
    if len(box) != 4 or not all(_is_number(value) for value in box):
        raise RequestError(f"box must be four finite numbers x, y, width, height, not {repr(box)[:80]}")
    x, y, width, height = map(float, box)
    return Start(int(stamp), (x, y, width, height))


def _set(fields: dict[str, Any]) -> SetParameter:
    value = fields.get("value")
    if not (isinstance(value, (bool, str)) or _is_number(value)):
        raise RequestError(f"value must be a boolean, a finite number or a text, not {repr(value)[:40]}")
    return SetParameter(_text(_field(fields, "name", str), "name"), _text(value, "value"))


def _text(value: Any, name: str) -> Any:
    """Return the value. Raise RequestError for a text that a ROS message cannot hold."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT_LENGTH:
            raise RequestError(f"{name} has {len(value)} characters, at most {MAX_TEXT_LENGTH} are allowed")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise RequestError(f"{name} has characters that are not Unicode text")
    return value


_KIND_NAMES = {bool: "true or false", int: "an integer", str: "a text", list: "a list"}
_READERS: dict[str, Callable[[dict[str, Any]], Request]] = {
    "look": _look,
    "shown": lambda fields: Shown(),
    "start": _start,
    "stop": lambda fields: Stop(),
    "enable": lambda fields: Enable(_field(fields, "enabled", bool)),
    "set": _set,
}


def _field(fields: dict[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if type(value) is not kind:
        raise RequestError(f"{name} must be {_KIND_NAMES[kind]}, not {repr(value)[:40]}")
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
