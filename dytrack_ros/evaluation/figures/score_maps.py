"""Where each exit looks: its corner heat maps over the search region (the paper's score maps), by PyTorch in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.figures.outlines import outline, outline_truth
from dytrack_ros.evaluation.figures.plots import exit_colour
from dytrack_ros.evaluation.figures.section import Section
from dytrack_ros.evaluation.figures.strips import chosen_sequences, shown_frames
from dytrack_ros.tracking.box import iou
from dytrack_ros.tracking.crop import CropWindow, cut_template

ROWS = 4
TOP_LEFT_COLOUR, BOTTOM_RIGHT_COLOUR = "#f0e442", "#cc79a7"
PALE = 0.45  # how far the crop below the maps is lightened


class ExitMap(NamedTuple):
    """One exit's predicted IoU, box (4,) as (x1, y1, x2, y2) in [0, 1] of the search region, and the probabilities of its
    top-left and bottom-right corner over the cells (2, H, W), each with a sum of 1."""

    score: float
    box: np.ndarray
    heat: np.ndarray


class Looked(NamedTuple):
    """What a tracker saw of a frame (uint8 RGB crops), where the target was in it (x1, y1, x2, y2), and its answers."""

    template: np.ndarray
    search: np.ndarray
    truth: np.ndarray
    exits: list[ExitMap]


class ScoreMapper:
    """The network with all its exits, which the engines' contract does not show the inside of.

    Raises ImportError without PyTorch.
    """

    def __init__(self, weights: Path):
        from dytrack_ros.model.weights import load_weights

        self._model = load_weights(weights).fuse().eval()

    def look(self, sequence: Sequence, number: int, box_before) -> Looked:
        """Frame ``number`` as seen by a tracker whose box on the frame before was ``box_before`` (x, y, w, h)."""
        config = self._model.config
        template = cut_template(sequence.image(0), sequence.start_box, config)
        window = CropWindow.around(box_before, config.search_factor)
        search = window.cut(sequence.image(number), config.search_size)
        return Looked(template, search, window.to_crop(sequence.truth[number]), self.answers(template, search))

    def answers(self, template: np.ndarray, search: np.ndarray) -> list[ExitMap]:
        """Every exit's answer on two crops, uint8 RGB."""
        import torch

        from dytrack_ros.model.dytrack import normalize

        with torch.inference_mode():
            images = [normalize(torch.from_numpy(crop).permute(2, 0, 1)[None].float()) for crop in (template, search)]
            outputs = self._model(*images)
        return [ExitMap(float(o.score), o.box[0].numpy(), o.log_heat_maps[0].exp().numpy()) for o in outputs]


def score_maps(section: Section, mapper: ScoreMapper) -> Figure | None:
    """A row for a frame in the middle of some sequences, from the worst to the best, seen from where the deepest run was on
    the frame before; None where no target is known."""
    traces = {each["name"]: each for each in section.deepest["sequences"]}
    rows = []
    for name in chosen_sequences(section, ROWS):
        frames = shown_frames(section, traces[name])
        number = frames[len(frames) // 2]
        rows.append((name, number, mapper.look(section.sequences[name], number, traces[name]["boxes"][number - 1])))
    if not rows:
        return None
    columns = 2 + len(rows[0][2].exits)
    figure = Figure(figsize=(2.7 * columns, 2.95 * len(rows)), layout="constrained")
    for (template, region, *maps), (name, number, looked) in zip(
        figure.subplots(len(rows), columns, squeeze=False), rows, strict=True
    ):
        for axes in (template, region, *maps):
            axes.axis("off")
        template.imshow(looked.template)
        template.set_title(f"{name}: template", fontsize=9)
        region.imshow(looked.search, extent=(0, len(looked.search), len(looked.search), 0))
        outline_truth(region, _as_size(looked.truth) * len(looked.search))
        region.set_title(f"frame {number}: search region", fontsize=9)
        for exit_index, (axes, answer) in enumerate(zip(maps, looked.exits, strict=True), start=1):
            _draw_map(axes, looked, answer, exit_index)
    return figure


def _draw_map(axes: Axes, looked: Looked, answer: ExitMap, exit_index: int) -> None:
    side = len(looked.search)
    grey = looked.search.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
    axes.imshow(PALE + (1 - PALE) * grey, extent=(0, side, side, 0))
    for heat, colour in zip(answer.heat, (TOP_LEFT_COLOUR, BOTTOM_RIGHT_COLOUR), strict=True):
        # The root shows what lies around the peak, too.
        overlay = np.dstack([np.full((*heat.shape, 3), to_rgb(colour)), np.sqrt(heat / heat.max())])
        axes.imshow(overlay, extent=(0, side, side, 0), interpolation="nearest")
    box, truth = _as_size(answer.box), _as_size(looked.truth)
    outline(axes, box * side, edgecolor=exit_colour(exit_index), linewidth=1.8)
    outline_truth(axes, truth * side)
    axes.set(xlim=(0, side), ylim=(side, 0))
    axes.set_title(f"exit {exit_index}: predicted {answer.score:.2f}, true {float(iou(box, truth)):.2f}", fontsize=9)


def _as_size(corners: np.ndarray) -> np.ndarray:
    """(x1, y1, x2, y2) as (x, y, w, h)."""
    return np.concatenate([corners[:2], corners[2:] - corners[:2]])
