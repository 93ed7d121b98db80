"""The demo's figures and its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dytrack_ros.nodes.demo.record import FrameRecord
from dytrack_ros.tracking import TrackState

RECEIVED_FLOOR = 0.95
# Where the truth is known, the target counts as held if the last second's boxes overlap it at least this much.
HELD_IOU = 0.3


def summarize(records: Sequence[FrameRecord], frames_published: int, rate_hz: float, **about: Any) -> dict[str, Any]:
    """Figures of a run, ready for JSON; `about` (such as model="...") is added as it is.

    `frames_received` are those that reached the tracker, whether it processed or dropped them; `mean_iou` is None
    where no truth is known, `occlusion` where the target was in sight all the time.
    """
    processed = [record for record in records if record.state is not None]
    tracked = [record for record in processed if record.box is not None]
    measured = [record for record in tracked if record.exit_index]  # not the frame whose box was given
    overlaps = [record.iou for record in measured if record.iou is not None]
    exits = Counter(record.exit_index for record in measured)
    latencies = [record.latency_ms for record in measured]
    exit_count = max((record.exit_count for record in processed), default=0)
    return {
        "frames_published": frames_published,
        "frames_received": len(processed) + (processed[-1].frames_dropped if processed else 0),
        "frames_tracked": len(tracked),
        "mean_iou": _mean(overlaps),
        "exit_histogram": {str(index): exits[index] for index in range(1, exit_count + 1)},
        "latency_ms": {"p50": _percentile(latencies, 50), "p95": _percentile(latencies, 95)},
        "score": {"mean": _mean([record.score for record in measured])},
        "target_held": _held(processed, rate_hz),
        "occlusion": _occlusion(records),
        "rate_hz": rate_hz,
        **about,
    }


def sentence(summary: dict[str, Any]) -> str:
    """A summary for people, in one line."""
    exits = ", ".join(f"{count} at exit {index}" for index, count in summary["exit_histogram"].items())
    overlap = "" if summary["mean_iou"] is None else f", mean IoU {summary['mean_iou']:.3f}"
    overlap += "" if summary.get("first_box_s") is None else f"; first box after {summary['first_box_s']:.1f} s"
    latency = summary["latency_ms"]
    timing = "" if latency["p50"] is None else f"; latency {latency['p50']:.0f} ms (95 %: {latency['p95']:.0f} ms)"
    return (
        f"{summary['frames_published']} frames published, {summary['frames_received']} received, "
        f"{summary['frames_tracked']} tracked ({exits}){timing}{overlap}"
    )


def occlusion_sentence(summary: dict[str, Any]) -> str:
    """What the tracker said of a target out of sight, and when it had it back, in one line; empty if there was none."""
    found = summary["occlusion"]
    if not found:
        return ""
    first, last = found["hidden"]
    doubts = [f"{word} at {found[word]}" for word in ("UNCERTAIN", "LOST") if found[word]]
    said = ", ".join(doubts) or "never in doubt"
    back = f"TRACKING it again at {found['back']}" if found["back"] else "never back"
    return f"the target was hidden on frames {first} to {last}: {said}, {back}"


def budget_figures(said: Mapping[str, str]) -> dict[str, Any]:
    """What the tracker's diagnostics (values by key) say of its time budget; empty if nothing yet."""
    if "budget_state" not in said:
        return {}
    numbers = ("budget_ms", "mean_ms", "overhead_ms", "slowdown")
    return {
        "from": said["budget_from"],
        "state": said["budget_state"],
        **{key: float(said[key]) for key in numbers},
        "deadline_misses": int(said["deadline_misses"]),
    }


def budget_sentence(summary: dict[str, Any]) -> str:
    """The time budget and what became of it, in one line; empty if it is not known."""
    budget = summary.get("budget")
    if not budget:
        return ""
    spent = f"tracking took {budget['mean_ms']:.0f} ms a frame, and {budget['overhead_ms']:.0f} ms went beside it"
    if budget["state"] == "off":
        return f"no budget ({budget['from'].removeprefix('none: ')}): {spent}"
    return f"budget {budget['budget_ms']:.0f} ms ({budget['from']}; {budget['state'].lower()}): {spent}"


def failure(summary: dict[str, Any]) -> str:
    """The condition that a run missed, in one line; empty if it met all."""
    published, received = summary["frames_published"], summary["frames_received"]
    if not published:
        return "the camera published no frame"
    if received < RECEIVED_FLOOR * published:
        return f"only {received} of {published} published frames reached the tracker; at least 95 % should"
    if not summary["target_held"]:
        return f"the target was not held to the end ({summary['frames_tracked']} of {published} frames have a box)"
    return ""


def _occlusion(records: Sequence[FrameRecord]) -> dict[str, Any] | None:
    """The first and last frame on which the target was hidden, by number; the first ones from there on with each state
    of doubt (None: never), and the first one after it that has the target back, by the truth where that is known."""
    hidden = [record.number for record in records if record.hidden]
    if not hidden:
        return None

    def first(condition) -> int | None:
        return next((record.number for record in records if record.number >= hidden[0] and condition(record)), None)

    def is_back(record: FrameRecord) -> bool:
        held = record.iou is None or record.iou >= HELD_IOU
        return record.number > hidden[-1] and record.state == TrackState.TRACKING and held

    return {
        "hidden": [hidden[0], hidden[-1]],
        "UNCERTAIN": first(lambda record: record.state == TrackState.UNCERTAIN),
        "LOST": first(lambda record: record.state == TrackState.LOST),
        "back": first(is_back),
    }


def _held(processed: Sequence[FrameRecord], rate_hz: float) -> bool:
    if not processed or processed[-1].state not in (TrackState.TRACKING, TrackState.UNCERTAIN):
        return False
    overlaps = [record.iou for record in processed[-max(1, round(rate_hz)) :] if record.iou is not None]
    return not overlaps or _mean(overlaps) >= HELD_IOU


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 2) if values else None
