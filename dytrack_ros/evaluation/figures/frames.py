"""Figures made of frames: strips of sequences with every exit's boxes, and the exits' corner heat maps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.figures.plots import exit_colour, run_colours
from dytrack_ros.evaluation.figures.section import Section
from dytrack_ros.tracking.box import iou
from dytrack_ros.tracking.crop import CropWindow, cut_template

STRIP_ROWS, STRIP_COLUMNS, MAP_ROWS = 6, 5, 4
VIEW_HEIGHT, ASPECT = 270, 4 / 3  # of a shown frame, in pixels
SIDES_IN_VIEW = 3.0  # least height of a shown frame, in longer sides of the target
LEAST_PART = 0.4  # and in heights of the image
TRUTH = {"edgecolor": "white", "linestyle": "--", "linewidth": 1.6}
TRUTH_STROKE = [withStroke(linewidth=3.2, foreground="black")]  # visible on any background
TOP_LEFT_COLOUR, BOTTOM_RIGHT_COLOUR = "#f0e442", "#cc79a7"
PALE = 0.45  # how far the crop below the heat maps is lightened


def outline(axes: Axes, box, **how) -> None:
    """Draw ``box`` (x, y, w, h) in the units of ``axes``."""
    x, y, w, h = box
    axes.add_patch(Rectangle((x, y), w, h, fill=False, **how))


def outline_truth(axes: Axes, box) -> None:
    outline(axes, box, **TRUTH, path_effects=TRUTH_STROKE)


# --- strips -----------------------------------------------------------------------------------------------------------


class View(NamedTuple):
    """A part of an image, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def chosen_sequences(section: Section, count: int = STRIP_ROWS) -> list[str]:
    """Return ``count`` sequences from the worst to the best, evenly spaced by success AUC of the deepest run."""
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


def shown_frames(section: Section, summary: dict, count: int = STRIP_COLUMNS) -> list[int]:
    """Return ``count`` frames after the first that show the target, evenly spaced to the last."""
    present = np.flatnonzero(metrics.is_present(section.sequences[summary["name"]].judged_truth))
    later = present[present > 0]
    return (
        np.unique(later[np.linspace(0, len(later) - 1, count + 1).round().astype(int)[1:]]).tolist()
        if len(later)
        else []
    )


def strips(section: Section) -> Figure | None:
    """Draw a row for each of :func:`chosen_sequences` with the boxes of the fixed exits, or of all runs without any.

    Returns None without ground truth.
    """
    names = chosen_sequences(section)
    if not names:
        return None
    shown = list(section.fixed_exits.values()) or section.runs
    colours = {run["policy"]: run_colours(section)[run["policy"]] for run in shown}
    boxes = {run["policy"]: {each["name"]: each["boxes"] for each in run["sequences"]} for run in shown}
    summaries = {each["name"]: each for each in section.deepest["sequences"]}
    figure = Figure(figsize=(3.1 * STRIP_COLUMNS, 2.6 * len(names) + 0.4), layout="constrained")
    grid = figure.subplots(len(names), STRIP_COLUMNS, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        for axes in row:
            axes.axis("off")
        for axes, number in zip(row, shown_frames(section, summaries[name]), strict=False):
            answers = {policy: boxes[policy][name][number] for policy in boxes}
            _draw_frame(axes, section.sequences[name], number, answers, colours)
        row[0].text(-0.03, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=9)
    truth = Line2D([], [], color="white", linestyle="--", linewidth=2, path_effects=TRUTH_STROKE, label="truth")
    handles = [truth, *(Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour in colours.items())]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def _draw_frame(
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

    def in_view(box) -> np.ndarray:
        return (np.asarray(box) - [view.left, view.top, 0, 0]) * scale

    for policy, box in boxes.items():
        outline(axes, in_view(box), edgecolor=colours[policy], linewidth=1.7)
    outline_truth(axes, in_view(truth))
    overlaps = [float(iou(np.array(box), truth)) for box in boxes.values()]
    axes.set_title(f"frame {number}: " + " ".join(f"{value:.2f}" for value in overlaps), fontsize=8)


def view_around(box, image_width: int, image_height: int) -> View:
    """Return the part of an image to show: 4:3, inside it, at least 3 target sides and 40 % of the image high."""
    x, y, w, h = box
    height = min(max(SIDES_IN_VIEW * max(w, h), LEAST_PART * image_height), image_height)
    width = min(height * ASPECT, image_width)
    left = np.clip(x + w / 2 - width / 2, 0, image_width - width)
    top = np.clip(y + h / 2 - height / 2, 0, image_height - height)
    return View(round(float(left)), round(float(top)), max(round(width), 1), max(round(height), 1))


# --- heat maps --------------------------------------------------------------------------------------------------------


class ExitMap(NamedTuple):
    """One exit's answer on a search region.

    ``box`` is (x1, y1, x2, y2) in [0, 1] of the region; ``heat`` (2, H, W) has the probabilities of the top-left and
    bottom-right corner, each with sum 1.
    """

    score: float
    box: np.ndarray
    heat: np.ndarray


class MappedFrame(NamedTuple):
    """Two crops (uint8 RGB), the true box (x1, y1, x2, y2) in [0, 1] of the search region, the exits' answers."""

    template: np.ndarray
    search: np.ndarray
    truth: np.ndarray
    exits: list[ExitMap]


class ScoreMapper:
    """Runs the network with PyTorch in fp32, for the heat maps of all exits. Raises ImportError without PyTorch."""

    def __init__(self, weights: Path):
        from dytrack_ros.model.weights import load_weights

        self._model = load_weights(weights).fuse().eval()

    def map_frame(self, sequence: Sequence, number: int, box_before) -> MappedFrame:
        """Return frame ``number`` as a tracker with the box ``box_before`` (x, y, w, h) on the frame before sees it."""
        config = self._model.config
        template = cut_template(sequence.image(0), sequence.start_box, config)
        window = CropWindow.around(box_before, config.search_factor)
        search = window.cut(sequence.image(number), config.search_size)
        return MappedFrame(template, search, window.to_crop(sequence.truth[number]), self.answers(template, search))

    def answers(self, template: np.ndarray, search: np.ndarray) -> list[ExitMap]:
        """Return every exit's answer on two crops, uint8 RGB."""
        import torch

        from dytrack_ros.model.dytrack import normalize

        with torch.inference_mode():
            images = [normalize(torch.from_numpy(crop).permute(2, 0, 1)[None].float()) for crop in (template, search)]
            outputs = self._model(*images)
        return [ExitMap(float(o.score), o.box[0].numpy(), o.log_heat_maps[0].exp().numpy()) for o in outputs]


def score_maps(section: Section, mapper: ScoreMapper) -> Figure | None:
    """Draw the heat maps of a frame in the middle of each of :func:`chosen_sequences`.

    The search region is that of the deepest run. Returns None without ground truth.
    """
    traces = {each["name"]: each for each in section.deepest["sequences"]}
    rows = []
    for name in chosen_sequences(section, MAP_ROWS):
        frames = shown_frames(section, traces[name])
        number = frames[len(frames) // 2]
        rows.append(
            (name, number, mapper.map_frame(section.sequences[name], number, traces[name]["boxes"][number - 1]))
        )
    if not rows:
        return None
    columns = 2 + len(rows[0][2].exits)
    figure = Figure(figsize=(2.7 * columns, 2.95 * len(rows)), layout="constrained")
    for (template, region, *maps), (name, number, mapped) in zip(
        figure.subplots(len(rows), columns, squeeze=False), rows, strict=True
    ):
        for axes in (template, region, *maps):
            axes.axis("off")
        template.imshow(mapped.template)
        template.set_title(f"{name}: template", fontsize=9)
        region.imshow(mapped.search, extent=(0, len(mapped.search), len(mapped.search), 0))
        outline_truth(region, _as_size(mapped.truth) * len(mapped.search))
        region.set_title(f"frame {number}: search region", fontsize=9)
        for exit_index, (axes, answer) in enumerate(zip(maps, mapped.exits, strict=True), start=1):
            _draw_map(axes, mapped, answer, exit_index)
    return figure


def _draw_map(axes: Axes, mapped: MappedFrame, answer: ExitMap, exit_index: int) -> None:
    side = len(mapped.search)
    grey = mapped.search.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
    axes.imshow(PALE + (1 - PALE) * grey, extent=(0, side, side, 0))
    for heat, colour in zip(answer.heat, (TOP_LEFT_COLOUR, BOTTOM_RIGHT_COLOUR), strict=True):
        # The square root makes values around the peak visible.
        overlay = np.dstack([np.full((*heat.shape, 3), to_rgb(colour)), np.sqrt(heat / heat.max())])
        axes.imshow(overlay, extent=(0, side, side, 0), interpolation="nearest")
    box, truth = _as_size(answer.box), _as_size(mapped.truth)
    outline(axes, box * side, edgecolor=exit_colour(exit_index), linewidth=1.8)
    outline_truth(axes, truth * side)
    axes.set(xlim=(0, side), ylim=(side, 0))
    axes.set_title(f"exit {exit_index}: predicted {answer.score:.2f}, true {float(iou(box, truth)):.2f}", fontsize=9)


def _as_size(corners: np.ndarray) -> np.ndarray:
    """Return (x1, y1, x2, y2) as (x, y, w, h)."""
    return np.concatenate([corners[:2], corners[2:] - corners[:2]])
