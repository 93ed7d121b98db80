"""Draws what the tracker knows onto a picture."""

from __future__ import annotations

import cv2
import numpy as np

from dytrack_ros.tracking import TrackState

# BGR, chosen to stay apart for colour-blind viewers (Okabe and Ito's palette).
_STATE_COLOURS = {
    TrackState.IDLE: (160, 160, 160),
    TrackState.TRACKING: (115, 158, 0),
    TrackState.UNCERTAIN: (0, 159, 230),
    TrackState.LOST: (0, 94, 213),
}
_TRUTH_COLOUR = (233, 180, 86)
_INK, _PAPER = (255, 255, 255), (0, 0, 0)


def draw(
    image: np.ndarray,
    state: TrackState | None,
    box=None,
    score: float = 0.0,
    exit_index: int = 0,
    exit_count: int = 0,
    caption: str = "",
    truth=None,
) -> None:
    """Draw into `image` (uint8 BGR, HxWx3).

    Args:
        state: None for a frame that the tracker has not looked at; its box is an older one's.
        box: x, y, w, h in pixels, or None.
        exit_index: the exit taken (1-based, 0: none), shown as so many filled dots out of `exit_count`
            beside the score; no label without `exit_count`.
        caption: a line for the picture's upper left corner.
        truth: the true box, drawn thin.
    """
    unit = max(min(image.shape[:2]) / 480, 0.5)  # everything grows with the picture
    if truth is not None:
        _rectangle(image, truth, _TRUTH_COLOUR, 1)
    if box is not None:
        colour = _STATE_COLOURS[TrackState.IDLE if state is None else state]
        _rectangle(image, box, colour, max(1, round(2 * unit)))
        if exit_count:
            _label(image, box, f"{score:.2f}", exit_index, exit_count, colour, unit)
    word = "dropped" if state is None else TrackState(state).name
    _text(image, f"{word}  {caption}", (round(8 * unit), round(20 * unit)), unit)


def _label(image: np.ndarray, box, text: str, exit_index: int, exit_count: int, colour, unit: float) -> None:
    """Score and exit dots above the box, or inside it where there is no room above."""
    x, y = round(max(box[0], 0)), round(box[1])
    y = y - round(6 * unit) if y > 44 * unit else y + round(18 * unit)
    _text(image, text, (x, y), unit)
    radius = max(2, round(4 * unit))
    for index in range(exit_count):
        centre = (x + round(48 * unit) + index * 3 * radius, y - radius)
        cv2.circle(image, centre, radius, _PAPER, -1, cv2.LINE_AA)
        cv2.circle(
            image,
            centre,
            radius - 1,
            colour if index < exit_index else _INK,
            -1 if index < exit_index else 1,
            cv2.LINE_AA,
        )


def _rectangle(image: np.ndarray, box, colour, thickness: int) -> None:
    x, y, width, height = box
    cv2.rectangle(image, (round(x), round(y)), (round(x + width), round(y + height)), colour, thickness, cv2.LINE_AA)


def _text(image: np.ndarray, text: str, origin: tuple[int, int], unit: float) -> None:
    for colour, thickness in ((_PAPER, max(2, round(3 * unit))), (_INK, max(1, round(unit)))):
        cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * unit, colour, thickness, cv2.LINE_AA)
