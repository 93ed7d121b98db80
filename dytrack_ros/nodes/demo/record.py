"""Keeps what the graph said of each frame, and writes it down as a video and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dytrack_ros.nodes import overlay
from dytrack_ros.nodes.annotation import Annotation
from dytrack_ros.tracking import TrackState
from dytrack_ros.tracking.box import Box, iou

# Small clips are enlarged to about this height, so that captions can be read.
_LEGIBLE_HEIGHT = 480
_SHEET_COLUMNS, _SHEET_ROWS, _SHEET_TILE_WIDTH = 4, 3, 480


@dataclass
class FrameRecord:
    """One published frame: its picture (uint8 BGR, HxWx3, None once it is written) and all that is known of it.

    `state` is None for a frame that the tracker dropped. Boxes are x, y, w, h in pixels. `truth` is None where it is not
    known or, `hidden`, where the target is known to be out of sight. `exit_index` is 0 where the box was given by init.
    `spent_ms` is the time of all stages, `budget_ms` what they may take in the mean (0: no budget).
    """

    number: int
    image: np.ndarray | None = None
    box: Box | None = None
    truth: Box | None = None
    hidden: bool = False
    state: TrackState | None = None
    score: float = 0.0
    exit_index: int = 0
    exit_count: int = 0
    latency_ms: float = 0.0
    spent_ms: float = 0.0
    budget_ms: float = 0.0
    frames_dropped: int = 0

    @property
    def iou(self) -> float | None:
        """Overlap of box and truth in [0, 1]; None where either is unknown or the box is init's own."""
        if self.box is None or self.truth is None or self.exit_index == 0:
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
        """Draw and append one record with a picture."""
        factor = max(1, round(_LEGIBLE_HEIGHT / record.image.shape[0]))
        picture = cv2.resize(record.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        self._last_box = record.box or self._last_box
        dropped = record.state is None  # then the last box goes on in grey
        overlay.draw(
            picture,
            Annotation(
                state=record.state,
                caption=f"frame {record.number}",
                box=_scaled(self._last_box if dropped else record.box, factor),
                score=record.score,
                exit_index=record.exit_index,
                exit_count=record.exit_count,
                truth=_scaled(record.truth, factor),
                spent_ms=record.spent_ms,
                budget_ms=record.budget_ms,
            ),
        )
        if not dropped:
            self.answered.append(self._written)
        self._written += 1
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter_fourcc(*"mp4v"), self._rate_hz, self._size)
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size)
        self._writer.write(picture)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


def write_contact_sheet(video: Path, sheet: Path, choice: Sequence[int] = ()) -> None:
    """Write evenly spaced frames of a video file, the first and the last among them, as one picture.

    `choice` are the numbers (from 0) of the frames to take them from; empty: all.
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
    """All frames of a video, in the width of a contact sheet's tile."""
    capture = cv2.VideoCapture(str(video))
    frames = []
    while True:
        readable, frame = capture.read()
        if not readable:
            capture.release()
            return frames
        height = round(frame.shape[0] * _SHEET_TILE_WIDTH / frame.shape[1])
        frames.append(cv2.resize(frame, (_SHEET_TILE_WIDTH, height), interpolation=cv2.INTER_AREA))


def _scaled(box: Box | None, factor: int) -> Box | None:
    return box and tuple(value * factor for value in box)
