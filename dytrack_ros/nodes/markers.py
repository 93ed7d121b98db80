"""An annotation as lines that a viewer draws over the camera's own image."""

from __future__ import annotations

from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import ImageMarker

from dytrack_ros.nodes.annotation import Annotation
from dytrack_ros.tracking.box import Box

_NAMESPACE = "dytrack"
_LINE_WIDTH_PX = 2.0
# Dashes and the gaps between them on each side of the search region.
_DASHES = 12


def marker_message(header: Header, annotation: Annotation) -> ImageMarker:
    """One LINE_LIST with a colour for each line: the box, and the searched region dashed, in the colour of the state.

    One message holds both, because a viewer shows the last one of a topic. Without a box it has no lines, and takes away
    what was shown.
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
    return [Point(x=float(x), y=float(y)) for side in zip(corners, corners[1:], strict=False) for x, y in side]


def _dashed_outline(box: Box) -> list[Point]:
    corners, points = _corners(box), []
    steps = 2 * _DASHES - 1
    for (x1, y1), (x2, y2) in zip(corners, corners[1:], strict=False):
        for dash in range(0, steps, 2):
            for part in (dash / steps, (dash + 1) / steps):
                points.append(Point(x=float(x1 + (x2 - x1) * part), y=float(y1 + (y2 - y1) * part)))
    return points


def _corners(box: Box) -> list[tuple[float, float]]:
    """Around, and back to the first."""
    x, y, width, height = box
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
