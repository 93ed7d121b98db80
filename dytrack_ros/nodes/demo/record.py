"""The record of a demo run: its live table, video, contact sheet, figures and verdict."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.live import Live
from rich.table import Table

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes import overlay
from dytrack_ros.tracking import TrackState
from dytrack_ros.tracking.box import Box, iou

# Small clips are enlarged to about this height, so that captions can be read.
_LEGIBLE_HEIGHT = 480
_SHEET_COLUMNS, _SHEET_ROWS, _SHEET_TILE_WIDTH = 4, 3, 480


@dataclass
class FrameRecord:
    """One published frame and its results. Boxes are x, y, w, h in pixels.

    Attributes:
        image: uint8 BGR, HxWx3; None once it is written.
        truth: None if it is not known or the target is `hidden`.
        status: None for a frame that the tracker dropped.
    """

    number: int
    image: np.ndarray | None = None
    box: Box | None = None
    truth: Box | None = None
    hidden: bool = False
    status: TrackStatus | None = None

    @property
    def iou(self) -> float | None:
        """Overlap of box and truth in [0, 1]; None if either is unknown or the box is that of the init."""
        if self.box is None or self.truth is None or self.status is None or self.status.exit_index == 0:
            return None
        return float(iou(self.box, self.truth))


class OverlayVideo:
    """Writes records as frames of an mp4 file, all in the size of the first.

    Attributes:
        answered: numbers (from 0) of the frames that the tracker did not drop.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._last_box: Box | None = None
        self._written = 0
        self.answered: list[int] = []

    def write(self, record: FrameRecord) -> None:
        """Draw and append one record that has an image."""
        if record.image is None:
            raise ValueError(f"frame {record.number} has no image")
        factor = max(1, round(_LEGIBLE_HEIGHT / record.image.shape[0]))
        picture = cv2.resize(record.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        self._last_box = record.box or self._last_box
        status, dropped = record.status or TrackStatus(), record.status is None  # the last box is drawn in grey
        overlay.draw(
            picture,
            overlay.Annotation(
                state=None if dropped else TrackState(status.state),
                caption=f"frame {record.number}",
                box=_scaled(self._last_box if dropped else record.box, factor),
                score=status.score,
                exit_index=status.exit_index,
                exit_count=status.exit_count,
                truth=_scaled(record.truth, factor),
                spent_ms=sum(status.stage_ms),
                budget_ms=status.budget_ms,
            ),
        )
        if not dropped:
            self.answered.append(self._written)
        self._written += 1
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self._rate_hz, self._size)
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size)
        self._writer.write(picture)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def write_contact_sheet(video: Path, sheet: Path, choice: Sequence[int] = ()) -> None:
    """Write evenly spaced frames of a video file, including the first and the last, as one image.

    `choice` holds the numbers (from 0) of the frames to choose from; empty: all.
    """
    count = _SHEET_COLUMNS * _SHEET_ROWS
    frames = _read_frames(video)
    choice = choice or range(len(frames))
    wanted = [choice[place] for place in np.linspace(0, len(choice) - 1, count).round().astype(int)]
    rows = [
        np.hstack([frames[index] for index in wanted[start : start + _SHEET_COLUMNS]])
        for start in range(0, count, _SHEET_COLUMNS)
    ]
    cv2.imwrite(str(sheet), np.vstack(rows))


def _read_frames(video: Path) -> list[np.ndarray]:
    """Return all frames of a video, in the width of a contact sheet's tile."""
    capture = cv2.VideoCapture(str(video))
    frames: list[np.ndarray] = []
    while True:
        readable, frame = capture.read()
        if not readable:
            capture.release()
            return frames
        height = round(frame.shape[0] * _SHEET_TILE_WIDTH / frame.shape[1])
        frames.append(cv2.resize(frame, (_SHEET_TILE_WIDTH, height), interpolation=cv2.INTER_AREA))


def _scaled(box: Box | None, factor: int) -> Box | None:
    return box and (box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor)


_COLUMNS = ("frame", "state", "box x, y, w, h", "score", "exit", "latency", "drops", "IoU")
_PLAIN = "{:>6}  {:<9}  {:<25}  {:>5}  {:>4}  {:>8}  {:>5}  {:>5}"
_ROWS = 14
_PLAIN_PERIOD_S = 1.0


class LiveTable:
    """Shows one row for each frame: rewritten in place on a terminal, otherwise one line a second."""

    def __init__(self) -> None:
        self._rows: deque[tuple[str, ...]] = deque(maxlen=_ROWS)
        self._live = Live(refresh_per_second=8, transient=False) if sys.stdout.isatty() else None
        self._printed_s = 0.0

    def start(self) -> None:
        if self._live:
            self._live.start()
        else:
            print(_PLAIN.format(*_COLUMNS), flush=True)

    def stop(self) -> None:
        if self._live:
            self._live.stop()

    def show(self, record: FrameRecord, status: TrackStatus) -> None:
        """Add a row for a processed frame."""
        row = (
            str(record.number),
            TrackState(status.state).name,
            ", ".join(f"{value:.1f}" for value in record.box) if record.box else "-",
            f"{status.score:.2f}",
            f"{status.exit_index}/{status.exit_count}" if status.exit_index else "-",
            f"{status.latency_ms:.1f} ms",
            str(status.frames_dropped),
            "-" if record.iou is None else f"{record.iou:.2f}",
        )
        if self._live is None:
            if time.monotonic() - self._printed_s >= _PLAIN_PERIOD_S:
                self._printed_s = time.monotonic()
                print(_PLAIN.format(*row), flush=True)
            return
        self._rows.append(row)
        table = Table(*_COLUMNS)
        for recent in self._rows:
            table.add_row(*recent)
        self._live.update(table)


RECEIVED_FLOOR = 0.95
# If the truth is known, the target counts as held if the mean IoU of the last second is at least this.
HELD_IOU = 0.3


def summarize(records: Sequence[FrameRecord], frames_published: int, rate_hz: float, **about: Any) -> dict[str, Any]:
    """Return the figures of a run for JSON; `about` (such as model="...") is added unchanged.

    `frames_received` counts the frames that reached the tracker, processed or dropped. `mean_iou` is None without
    truth, `occlusion` is None if the target was always visible.
    """
    processed = [(record, record.status) for record in records if record.status is not None]
    # Not the frame whose box was given.
    measured = [(record, status) for record, status in processed if record.box and status.exit_index]
    exits = Counter(status.exit_index for _, status in measured)
    latencies = [status.latency_ms for _, status in measured]
    exit_count = max((status.exit_count for _, status in processed), default=0)
    return {
        "frames_published": frames_published,
        "frames_received": len(processed) + (processed[-1][1].frames_dropped if processed else 0),
        "frames_tracked": sum(record.box is not None for record, _ in processed),
        "mean_iou": _mean([record.iou for record, _ in measured if record.iou is not None]),
        "exit_histogram": {str(index): exits[index] for index in range(1, exit_count + 1)},
        "latency_ms": {"p50": _percentile(latencies, 50), "p95": _percentile(latencies, 95)},
        "score": {"mean": _mean([status.score for _, status in measured])},
        "target_held": _held(processed, rate_hz),
        "occlusion": _occlusion(processed, [record.number for record in records if record.hidden]),
        "rate_hz": rate_hz,
        **about,
    }


def sentence(summary: dict[str, Any]) -> str:
    """Return a summary as one line."""
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
    """Return the states of the tracker during the occlusion as one line; empty if there was none."""
    found = summary["occlusion"]
    if not found:
        return ""
    first, last = found["hidden"]
    states = ", ".join(f"{name} at {found[name]}" for name in ("UNCERTAIN", "LOST") if found[name]) or "never in doubt"
    back = f"TRACKING it again at {found['back']}" if found["back"] else "never back"
    return f"the target was hidden on frames {first} to {last}: {states}, {back}"


def budget_figures(said: Mapping[str, str]) -> dict[str, Any]:
    """Return the time budget from the tracker's diagnostics (values by key); empty if they have none yet."""
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
    """Return the time budget and the time spent as one line; empty if they are not known."""
    budget = summary.get("budget")
    if not budget:
        return ""
    spent = f"tracking took {budget['mean_ms']:.0f} ms a frame, decoding and publishing {budget['overhead_ms']:.0f} ms"
    if budget["state"] == "none":
        return f"no budget ({budget['from'].removeprefix('none: ')}): {spent}"
    return f"budget {budget['budget_ms']:.0f} ms ({budget['from']}; {budget['state'].lower()}): {spent}"


def failure(summary: dict[str, Any]) -> str:
    """Return the condition that a run failed as one line; empty if it met all."""
    published, received = summary["frames_published"], summary["frames_received"]
    if not published:
        return "the camera published no frame"
    if received < RECEIVED_FLOOR * published:
        return f"only {received} of {published} published frames reached the tracker; at least 95 % should"
    if not summary["target_held"]:
        return f"the target was not held to the end ({summary['frames_tracked']} of {published} frames have a box)"
    return ""


def _occlusion(
    processed: Sequence[tuple[FrameRecord, TrackStatus]], hidden: Sequence[int]
) -> dict[str, list[int] | int | None] | None:
    """Return frame numbers of an occlusion; None if no frame is `hidden`.

    hidden: first and last frame. UNCERTAIN, LOST: first frame with this state from the first hidden one on. back: first
    TRACKING frame after the last hidden one, with an IoU of at least HELD_IOU if the truth is known. None: never.
    """
    if not hidden:
        return None

    def first(state: int, start: int = hidden[0], least_iou: float = 0.0) -> int | None:
        for record, status in processed:
            if record.number >= start and status.state == state and (record.iou is None or record.iou >= least_iou):
                return record.number
        return None

    return {
        "hidden": [hidden[0], hidden[-1]],
        "UNCERTAIN": first(TrackStatus.UNCERTAIN),
        "LOST": first(TrackStatus.LOST),
        "back": first(TrackStatus.TRACKING, hidden[-1] + 1, HELD_IOU),
    }


def _held(processed: Sequence[tuple[FrameRecord, TrackStatus]], rate_hz: float) -> bool:
    if not processed or processed[-1][1].state not in (TrackStatus.TRACKING, TrackStatus.UNCERTAIN):
        return False
    overlaps = [record.iou for record, _ in processed[-max(1, round(rate_hz)) :] if record.iou is not None]
    return not overlaps or float(np.mean(overlaps)) >= HELD_IOU


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 2) if values else None
