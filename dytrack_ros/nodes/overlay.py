"""Draws an annotation onto a picture, so that it can be read on any background and at any size."""

from __future__ import annotations

import cv2
import numpy as np

from dytrack_ros.nodes.annotation import TRUTH_COLOUR, Annotation
from dytrack_ros.tracking.box import Box

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _PAPER = (255, 255, 255), (0, 0, 0)
_PLATE_SHADE = 0.35  # how much of the picture shows through under text
# Of the bar, RGB; none that says a state.
_IN_BUDGET, _OVER_BUDGET = (0, 114, 178), (204, 121, 167)
# The budget's mark stands at this part of the bar, so that there is room for frames that take longer.
_BUDGET_AT = 2 / 3
_DASH, _GAP = 7, 5
# Everything grows with the picture; below the first of these the smallest letters could not be read.
_SMALLEST_UNIT, _UNIT_HEIGHT = 0.7, 480


def draw(image: np.ndarray, annotation: Annotation) -> None:
    """Draw into `image` (uint8 BGR, HxWx3).

    The box in the colour of the state, with the score and the exits (dots, filled up to the one taken) on its edge; the
    region that was searched, dashed; the truth, thin; in the upper left corner the state, the caption, and a bar of the
    time spent against the budget (a white mark). What is not known is left out.
    """
    unit = max(min(image.shape[:2]) / _UNIT_HEIGHT, _SMALLEST_UNIT)
    colour = _bgr(annotation.colour)
    if annotation.searched is not None:
        _dashed(image, annotation.searched, colour, unit)
    if annotation.truth is not None:
        _rectangle(image, annotation.truth, _bgr(TRUTH_COLOUR), max(1, round(unit)))
    if annotation.box is not None:
        thickness = max(1, round(2 * unit))
        _rectangle(image, annotation.box, _PAPER, thickness + 2)
        _rectangle(image, annotation.box, colour, thickness)
    top = _strip(image, annotation, colour, unit)
    if annotation.box is not None and annotation.exit_count:
        _label(image, annotation, colour, unit, top)


def _strip(image: np.ndarray, annotation: Annotation, colour, unit: float) -> int:
    """State, caption and time in the upper left corner; returns the strip's lower edge."""
    pad, line = round(6 * unit), round(20 * unit)
    text = f"{annotation.word}  {annotation.caption}".rstrip()
    has_time = annotation.spent_ms > 0
    width = 4 * pad + _text_width(text, unit)
    height = line + 2 * pad // 3
    if has_time:
        bar, time = round(110 * unit), _time(annotation)
        width = max(width, 3 * pad + bar + _text_width(time, unit))
        height += round(19 * unit)
    _plate(image, 0, 0, width, height)
    cv2.rectangle(image, (pad, pad), (2 * pad, line - pad // 3), colour, -1)
    _text(image, text, (3 * pad, line - pad // 3), unit)
    if has_time:
        top = line + round(4 * unit)
        _bar(image, (pad, top, bar, round(11 * unit)), annotation)
        _text(image, time, (2 * pad + bar, top + round(11 * unit)), unit)
    return height


def _time(annotation: Annotation) -> str:
    if annotation.budget_ms > 0:
        return f"{annotation.spent_ms:.0f} / {annotation.budget_ms:.0f} ms"
    return f"{annotation.spent_ms:.0f} ms"


def _bar(image: np.ndarray, place: tuple[int, int, int, int], annotation: Annotation) -> None:
    """The time spent; without a budget only its frame, as there is nothing to compare with."""
    left, top, width, height = place
    if annotation.budget_ms > 0:
        part = annotation.spent_ms / annotation.budget_ms
        full = round(width * min(part * _BUDGET_AT, 1))
        fill = _OVER_BUDGET if part > 1 else _IN_BUDGET
        cv2.rectangle(image, (left, top), (left + full, top + height), _bgr(fill), -1)
        mark = left + round(width * _BUDGET_AT)
        cv2.line(image, (mark, top - 1), (mark, top + height + 1), _INK, max(1, height // 5))
    cv2.rectangle(image, (left, top), (left + width, top + height), _INK, 1)


def _label(image: np.ndarray, annotation: Annotation, colour, unit: float, top: int) -> None:
    """Score and exit dots above the box, else below it, else inside: where the picture and its strip leave room."""
    x, y, _, box_height = annotation.box
    text = f"{annotation.score:.2f}"
    radius = max(4, round(4 * unit))
    height, text_width = round(18 * unit), _text_width(text, unit)
    width = text_width + (3 * annotation.exit_count + 2) * radius + round(6 * unit)
    edge = round(3 * unit)
    places = [y - height - edge, y + box_height + edge, y + edge]
    fitting = [place for place in places if top <= place <= image.shape[0] - height]
    upper = round(_within(fitting[0] if fitting else places[0], top, image.shape[0] - height))
    left = round(_within(x, 0, image.shape[1] - width))
    _plate(image, left, upper, width, height)
    _text(image, text, (left + round(3 * unit), upper + height - round(5 * unit)), unit)
    for index in range(annotation.exit_count):
        centre = (left + text_width + round(6 * unit) + (3 * index + 2) * radius, upper + height // 2)
        is_filled = index < annotation.exit_index
        cv2.circle(image, centre, radius, colour if is_filled else _INK, -1 if is_filled else 1, cv2.LINE_AA)
        if is_filled:
            cv2.circle(image, centre, radius, _INK, 1, cv2.LINE_AA)


def _within(value: float, low: float, high: float) -> float:
    return max(min(value, high), low)


def _plate(image: np.ndarray, left: int, top: int, width: int, height: int) -> None:
    part = image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    if part.size:
        cv2.convertScaleAbs(part, part, alpha=_PLATE_SHADE)


def _rectangle(image: np.ndarray, box: Box, colour, thickness: int) -> None:
    x, y, width, height = box
    cv2.rectangle(image, (round(x), round(y)), (round(x + width), round(y + height)), colour, thickness, cv2.LINE_AA)


def _dashed(image: np.ndarray, box: Box, colour, unit: float) -> None:
    """A dashed outline: dashes of the colour with black between them, one of which is seen on any background."""
    x, y, width, height = box
    rows, columns = image.shape[:2]
    dash, gap, thickness = round(_DASH * unit), round(_GAP * unit), max(1, round(unit))
    for row in (round(y), round(y + height)):
        if 0 <= row < rows:
            start, end = round(max(x, 0)), round(min(x + width, columns - 1))
            cv2.line(image, (start, row), (end, row), _PAPER, thickness)
            for at in range(start, end, dash + gap):
                cv2.line(image, (at, row), (min(at + dash, end), row), colour, thickness)
    for column in (round(x), round(x + width)):
        if 0 <= column < columns:
            start, end = round(max(y, 0)), round(min(y + height, rows - 1))
            cv2.line(image, (column, start), (column, end), _PAPER, thickness)
            for at in range(start, end, dash + gap):
                cv2.line(image, (column, at), (column, min(at + dash, end)), colour, thickness)


def _text(image: np.ndarray, text: str, origin: tuple[int, int], unit: float) -> None:
    for colour, thickness in ((_PAPER, max(2, round(3 * unit))), (_INK, max(1, round(unit)))):
        cv2.putText(image, text, origin, _FONT, 0.5 * unit, colour, thickness, cv2.LINE_AA)


def _text_width(text: str, unit: float) -> int:
    return cv2.getTextSize(text, _FONT, 0.5 * unit, max(1, round(unit)))[0][0]


def _bgr(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    return colour[::-1]
