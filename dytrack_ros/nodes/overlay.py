"""Rendering of results: the annotation of a frame, drawn into the image (`overlay`) or sent as lines (`markers`).

Both topics are published from a low-priority thread, so drawing never delays tracking.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from geometry_msgs.msg import Point
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import ImageMarker

from dytrack_ros.nodes.follower import Outcome
from dytrack_ros.nodes.frame_buffers import Mailbox, Worker
from dytrack_ros.nodes.images import fill_image
from dytrack_ros.nodes.messages import MARKERS_QOS, OVERLAY_QOS
from dytrack_ros.tracking import TrackState
from dytrack_ros.tracking.box import Box
from dytrack_ros.tracking.image import ImageView

# RGB in [0, 255]; the palette of Okabe and Ito is readable for colour-blind viewers.
STATE_COLOURS = {
    TrackState.IDLE: (160, 160, 160),
    TrackState.TRACKING: (0, 158, 115),
    TrackState.UNCERTAIN: (230, 159, 0),
    TrackState.LOST: (213, 94, 0),
}
TRUTH_COLOUR = (86, 180, 233)


@dataclass(frozen=True)
class Annotation:
    """What is drawn for one frame.

    Attributes:
        state: None for a frame that was dropped; its box belongs to an earlier frame.
        caption: text beside the state, such as the target's id.
        box, truth, searched: x, y, w, h in pixels, or None; `searched` may reach beyond the image.
        score: predicted IoU in [0, 1].
        exit_index, exit_count: exit taken (1-based, 0: none) and number of exits.
        spent_ms, budget_ms: time of tracking and its budget; 0: unknown.
    """

    state: TrackState | None
    caption: str = ""
    box: Box | None = None
    score: float = 0.0
    exit_index: int = 0
    exit_count: int = 0
    truth: Box | None = None
    searched: Box | None = None
    spent_ms: float = 0.0
    budget_ms: float = 0.0

    @classmethod
    def of(cls, outcome: Outcome, exit_count: int, budget_s: float) -> Annotation:
        """Make the annotation of a tracked frame whose budget was `budget_s` (0: no budget)."""
        result = outcome.result
        return cls(
            state=outcome.state,
            caption=outcome.target_id,
            box=outcome.box,
            score=outcome.score,
            exit_index=result.exit_index if result else 0,
            exit_count=exit_count,
            searched=result.search_region if result else None,
            spent_ms=result.seconds * 1e3 if result else 0.0,
            budget_ms=budget_s * 1e3,
        )

    @property
    def colour(self) -> tuple[int, int, int]:
        """Return the colour of the state, RGB."""
        return STATE_COLOURS[TrackState.IDLE if self.state is None else TrackState(self.state)]

    @property
    def word(self) -> str:
        """Return the name of the state."""
        return "dropped" if self.state is None else TrackState(self.state).name


# ---- the overlay image

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK, _PAPER = (255, 255, 255), (0, 0, 0)
_PLATE_SHADE = 0.35  # brightness of the image under text
# RGB colours of the time bar; none is the colour of a state.
_IN_BUDGET, _OVER_BUDGET = (0, 114, 178), (204, 121, 167)
# Position of the budget's mark on the bar; the rest shows frames that take longer.
_BUDGET_AT = 2 / 3
_DASH, _GAP = 7, 5
# Text and lines scale with the image (1 for a short side of 480 pixels); below 0.7 text is unreadable.
_SMALLEST_UNIT, _UNIT_HEIGHT = 0.7, 480


def draw(image: np.ndarray, annotation: Annotation) -> None:
    """Draw an annotation into `image` (uint8 BGR, HxWx3), readable on any background and at any size.

    Drawn are the box in the colour of the state with the score and one dot an exit (filled up to the exit taken), the
    search region (dashed), the ground truth (thin), and in the upper left corner the state, the caption and a bar of
    the time spent against the budget (white mark). Unknown values are left out.
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
        _label(image, annotation, annotation.box, colour, unit, top)


def _strip(image: np.ndarray, annotation: Annotation, colour, unit: float) -> int:
    """Draw state, caption and time in the upper left corner; return the lower edge of the strip."""
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
    """Draw the time bar; without a budget only its frame."""
    left, top, width, height = place
    if annotation.budget_ms > 0:
        part = annotation.spent_ms / annotation.budget_ms
        full = round(width * min(part * _BUDGET_AT, 1))
        fill = _OVER_BUDGET if part > 1 else _IN_BUDGET
        cv2.rectangle(image, (left, top), (left + full, top + height), _bgr(fill), -1)
        mark = left + round(width * _BUDGET_AT)
        cv2.line(image, (mark, top - 1), (mark, top + height + 1), _INK, max(1, height // 5))
    cv2.rectangle(image, (left, top), (left + width, top + height), _INK, 1)


def _label(image: np.ndarray, annotation: Annotation, box: Box, colour, unit: float, top: int) -> None:
    """Draw score and exit dots above the box, else below it, else inside it, where image and strip leave room."""
    x, y, _, box_height = box
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
    """Draw a dashed outline with black gaps, so that it is visible on any background."""
    x, y, width, height = box
    left, top, right, bottom = round(x), round(y), round(x + width), round(y + height)
    _dashed_rows(image, (top, bottom), left, right, colour, unit)
    _dashed_rows(image.transpose(1, 0, 2), (left, right), top, bottom, colour, unit)


def _dashed_rows(image: np.ndarray, rows: tuple[int, int], start: int, end: int, colour, unit: float) -> None:
    dash, gap, thickness = round(_DASH * unit), round(_GAP * unit), max(1, round(unit))
    start, end = max(start, 0), min(end, image.shape[1] - 1)
    for row in rows:
        if 0 <= row < len(image):
            first = max(row - thickness // 2, 0)
            band = image[first : first + thickness]
            band[:, start : end + 1] = _PAPER
            for at in range(start, end + 1, dash + gap):
                band[:, at : min(at + dash, end + 1)] = colour


def _text(image: np.ndarray, text: str, origin: tuple[int, int], unit: float) -> None:
    for colour, thickness in ((_PAPER, max(2, round(3 * unit))), (_INK, max(1, round(unit)))):
        cv2.putText(image, text, origin, _FONT, 0.5 * unit, colour, thickness, cv2.LINE_AA)


def _text_width(text: str, unit: float) -> int:
    return cv2.getTextSize(text, _FONT, 0.5 * unit, max(1, round(unit)))[0][0]


def _bgr(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    return colour[::-1]


# ---- markers

_NAMESPACE = "dytrack"
_LINE_WIDTH_PX = 2.0
# Dashes on each side of the search region.
_DASHES = 12


def marker_message(header: Header, annotation: Annotation) -> ImageMarker:
    """Make one LINE_LIST of the box and the dashed search region, each line in the colour of the state.

    Both are in one message because viewers show only the newest marker of a topic. Without a box the message removes
    the marker.
    """
    red, green, blue = (value / 255 for value in annotation.colour)
    colour = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    marker = ImageMarker(
        header=header, ns=_NAMESPACE, type=ImageMarker.LINE_LIST, scale=_LINE_WIDTH_PX, outline_color=colour
    )
    if annotation.box is None:
        marker.action = ImageMarker.REMOVE
        return marker
    marker.points = _outline(annotation.box)
    if annotation.searched is not None:
        marker.points += _dashed_outline(annotation.searched)
    marker.outline_colors = [colour] * (len(marker.points) // 2)
    return marker


def _outline(box: Box) -> list[Point]:
    corners = _corners(box)
    return [Point(x=float(x), y=float(y)) for side in itertools.pairwise(corners) for x, y in side]


def _dashed_outline(box: Box) -> list[Point]:
    corners, points = _corners(box), []
    steps = 2 * _DASHES - 1
    for (x1, y1), (x2, y2) in itertools.pairwise(corners):
        for dash in range(0, steps, 2):
            for part in (dash / steps, (dash + 1) / steps):
                points.append(Point(x=float(x1 + (x2 - x1) * part), y=float(y1 + (y2 - y1) * part)))
    return points


def _corners(box: Box) -> list[tuple[float, float]]:
    """Return the corners in order, the first one twice."""
    x, y, width, height = box
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]


# ---- publishing

# Inference keeps almost its full speed, even when all cores are busy.
NICENESS = 10


class _Sketch(NamedTuple):
    header: Header
    image: ImageView
    annotation: Annotation


class OverlayPublisher:
    """Publishes `overlay` and `markers` while they have subscribers.

    At most one frame waits for drawing; older ones are dropped.
    """

    def __init__(self, node: Node, on_error: Callable[[Exception], None]) -> None:
        """`on_error` is called in the drawing thread with the reason why a frame was not drawn."""
        self._overlay = node.create_publisher(Image, "overlay", OVERLAY_QOS)
        self._markers = node.create_publisher(ImageMarker, "markers", MARKERS_QOS)
        self._mailbox: Mailbox[_Sketch] = Mailbox()
        self._worker = Worker("drawing", self._mailbox, self._draw, on_error, NICENESS)

    def start(self) -> None:
        self._worker.start()

    def end(self, timeout_s: float) -> None:
        """Finish the current frame and end the thread; wait for that no longer than `timeout_s`."""
        self._worker.end(timeout_s)

    def submit(self, header: Header, image: ImageView, annotation: Annotation) -> None:
        """Have a frame drawn if a topic has subscribers; return at once."""
        if self._overlay.get_subscription_count() or self._markers.get_subscription_count():
            self._mailbox.put(_Sketch(header, image, annotation))

    def _draw(self, sketch: _Sketch | None) -> None:
        if sketch is None:
            return
        if self._markers.get_subscription_count():
            self._markers.publish(marker_message(sketch.header, sketch.annotation))
        if self._overlay.get_subscription_count():
            image = sketch.image.bgr().copy()  # the original may be a view of a message that is kept for init
            draw(image, sketch.annotation)
            message = Image(header=sketch.header)
            fill_image(message, image)
            self._overlay.publish(message)
