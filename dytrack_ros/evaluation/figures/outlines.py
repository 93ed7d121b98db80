"""Boxes drawn on pictures."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

TRUTH = {"edgecolor": "white", "linestyle": "--", "linewidth": 1.6}
TRUTH_STROKE = [withStroke(linewidth=3.2, foreground="black")]
"""Black below white: seen on any picture."""


def outline(axes: Axes, box, **how) -> None:
    """``box`` (x, y, w, h) in the picture's units."""
    x, y, w, h = box
    axes.add_patch(Rectangle((x, y), w, h, fill=False, **how))


def outline_truth(axes: Axes, box) -> None:
    outline(axes, box, **TRUTH, path_effects=TRUTH_STROKE)
