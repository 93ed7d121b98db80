"""The tables of the bridges' parameters, as those in `parameters.py`.

`config/bridges.yaml` is written from here (and a test compares them):

    python3 -m dytrack_ros.nodes.bridges.bridge_parameters > config/bridges.yaml
"""

from __future__ import annotations

from dytrack_ros.nodes.bridges.detection_choice import BEST_SCORE, CHOICES, NEAREST_CENTRE
from dytrack_ros.nodes.parameters import Parameter, as_yaml

INIT_FROM_DETECTIONS = (
    Parameter("enabled", True, "Hand detections over; false leaves the tracker alone, for instance after ~/stop."),
    Parameter("class_id", "", "Class to follow, as the detector names it, such as person; empty: any."),
    Parameter("min_score", 0.5, "Least score of that class that a detection must have.", 0.0, 1.0),
    Parameter(
        "choose",
        BEST_SCORE,
        "Which one is taken where several fit: the surest, the largest, the nearest to the picture's centre, or the "
        "nearest to where the last target was (the surest where there was none).",
        choices=CHOICES,
    ),
    Parameter(
        "holdoff_s", 1.0, "Least time between two inits, s: the tracker needs some to answer the first.", 0.0, 60.0
    ),
    Parameter(
        "picture.width",
        0,
        f"Width of the detector's picture, pixels; 0: as camera_info says. Counts when choose is {NEAREST_CENTRE}.",
        0,
        65_535,
    ),
    Parameter(
        "picture.height",
        0,
        f"Height of the detector's picture, pixels; 0: as camera_info says. Counts when choose is {NEAREST_CENTRE}.",
        0,
        65_535,
    ),
)

INIT_FROM_POINT = (
    Parameter("width", 80.0, "Width of the box around the point, pixels.", 2.0, 10_000.0),
    Parameter("height", 80.0, "Height of the box around the point, pixels.", 2.0, 10_000.0),
)

TABLES = {"init_from_detections": INIT_FROM_DETECTIONS, "init_from_point": INIT_FROM_POINT}


def bridges_yaml() -> str:
    """config/bridges.yaml."""
    return "\n".join(
        as_yaml(table, f"/**/{node}", node, "dytrack_ros.nodes.bridges.bridge_parameters")
        for node, table in TABLES.items()
    )


if __name__ == "__main__":
    print(bridges_yaml(), end="")
