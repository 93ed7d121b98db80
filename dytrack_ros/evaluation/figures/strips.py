"""Frames of some sequences with the truth and what each run answered."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.figures.outlines import TRUTH_STROKE, outline, outline_truth
from dytrack_ros.evaluation.figures.plots import run_colours
from dytrack_ros.evaluation.figures.section import Section
from dytrack_ros.tracking.box import iou

ROWS, COLUMNS = 6, 5
VIEW_HEIGHT, ASPECT = 270, 4 / 3  # of a picture, in pixels
SIDES_IN_VIEW = 3.0  # how many of the target's longer side a picture is high, at least
LEAST_PART = 0.4  # of the image's height


class View(NamedTuple):
    """A part of an image, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def chosen_sequences(section: Section, count: int = ROWS) -> list[str]:
    """``count`` sequences from the worst to the best, evenly spaced by success AUC of the deepest run."""
    judged = [
        each
        for each in section.deepest["sequences"]
        if not math.isnan(each["success_auc"]) and shown_frames(section, each)
    ]
    ordered = sorted(judged, key=lambda each: each["success_auc"])
    places = (
        np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)) if ordered else []
    )
    return [ordered[place]["name"] for place in places]


def shown_frames(section: Section, summary: dict, count: int = COLUMNS) -> list[int]:
    """``count`` frames after the first that show the target, evenly spaced to the last."""
    present = np.flatnonzero(metrics.is_present(section.sequences[summary["name"]].judged_truth))
    later = present[present > 0]
    return (
        np.unique(later[np.linspace(0, len(later) - 1, count + 1).round().astype(int)[1:]]).tolist()
        if len(later)
        else []
    )


def strips(section: Section) -> Figure | None:
    """A row a sequence, from the worst to the best of :func:`chosen_sequences`, with the boxes of the exits held (of all
    runs where none is); None where no target is known."""
    names = chosen_sequences(section)
    if not names:
        return None
    shown = list(section.fixed_exits.values()) or section.runs
    colours = {run["policy"]: run_colours(section)[run["policy"]] for run in shown}
    boxes = {run["policy"]: {each["name"]: each["boxes"] for each in run["sequences"]} for run in shown}
    summaries = {each["name"]: each for each in section.deepest["sequences"]}
    figure = Figure(figsize=(3.1 * COLUMNS, 2.6 * len(names) + 0.4), layout="constrained")
    grid = figure.subplots(len(names), COLUMNS, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        for axes in row:
            axes.axis("off")
        for axes, number in zip(row, shown_frames(section, summaries[name]), strict=False):
            answers = {policy: boxes[policy][name][number] for policy in boxes}
            _picture(axes, section.sequences[name], number, answers, colours)
        row[0].text(-0.03, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=9)
    truth = Line2D([], [], color="white", linestyle="--", linewidth=2, path_effects=TRUTH_STROKE, label="truth")
    handles = [truth, *(Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour in colours.items())]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def _picture(
    axes: Axes, sequence: Sequence, number: int, boxes: dict[str, list[float]], colours: dict[str, str]
) -> None:
    image, truth = sequence.image(number), sequence.truth[number]
    view = view_around(truth, image.shape[1], image.shape[0])
    part = image[view.top : view.top + view.height, view.left : view.left + view.width]
    scale = VIEW_HEIGHT / view.height
    resized = cv2.resize(
        part, (round(view.width * scale), VIEW_HEIGHT), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    axes.imshow(cv2.cvtColor(resized, cv2.COLOR_BGR2RGB))

    def in_picture(box) -> np.ndarray:
        return (np.asarray(box) - [view.left, view.top, 0, 0]) * scale

    for policy, box in boxes.items():
        outline(axes, in_picture(box), edgecolor=colours[policy], linewidth=1.7)
    outline_truth(axes, in_picture(truth))
    overlaps = [float(iou(np.array(box), truth)) for box in boxes.values()]
    axes.set_title(f"frame {number}: " + " ".join(f"{value:.2f}" for value in overlaps), fontsize=8)


def view_around(box, image_width: int, image_height: int) -> View:
    """The part of an image to show of a target: 4:3, at least three times as high as the target's longer side and 40 % of
    the image's height, inside the image."""
    x, y, w, h = box
    height = min(max(SIDES_IN_VIEW * max(w, h), LEAST_PART * image_height), image_height)
    width = min(height * ASPECT, image_width)
    left = np.clip(x + w / 2 - width / 2, 0, image_width - width)
    top = np.clip(y + h / 2 - height / 2, 0, image_height - height)
    return View(round(float(left)), round(float(top)), max(round(width), 1), max(round(height), 1))
