"""Figures drawn from the numbers of a report."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.figures.section import Section

# Okabe and Ito's palette for colour-blind readers.
EXIT_COLOURS = ("#009e73", "#e69f00", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442")
ADAPTIVE_COLOUR, RANDOM_COLOUR = "#0072b2", "#999999"
BUDGET_COLOURS = ("#cc79a7", "#8c4a73", "#5c2a4a", "#e3a9c9")
SHARES_ROWS = 40


def exit_colour(exit_index: int) -> str:
    return EXIT_COLOURS[(exit_index - 1) % len(EXIT_COLOURS)]


def run_colours(section: Section) -> dict[str, str]:
    """Return a colour for each run's policy."""
    colours, budgets = {}, 0
    for run in section.runs:
        policy = run["policy"]
        if policy.startswith("exit "):
            colours[policy] = exit_colour(int(policy[5:]))
        elif policy.startswith("budget"):
            colours[policy] = BUDGET_COLOURS[budgets % len(BUDGET_COLOURS)]
            budgets += 1
        else:
            colours[policy] = ADAPTIVE_COLOUR if policy == "adaptive" else RANDOM_COLOUR
    return colours


def pareto(section: Section) -> Figure:
    """Draw success AUC against mean milliseconds (the paper's Figure 8)."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes, colours = figure.subplots(), run_colours(section)

    def place(run: dict) -> tuple[float, float]:
        return run["mean"]["mean_ms"], run["mean"]["success_auc"]

    for kind, line in (("exit ", ":"), ("budget", "-")):
        places = sorted(place(run) for run in section.runs if run["policy"].startswith(kind))
        if len(places) > 1:
            axes.plot(*zip(*places, strict=True), line, color="#888888", linewidth=1, zorder=1)
    for run in section.runs:
        policy = run["policy"]
        marker = (
            "s"
            if policy.startswith("exit ")
            else "o"
            if policy.startswith("budget")
            else "*"
            if policy == "adaptive"
            else "X"
        )
        axes.scatter(*place(run), s=160 if marker == "*" else 60, marker=marker, color=colours[policy], zorder=2)
        above = policy.startswith("exit ")
        axes.annotate(policy, place(run), (0, 8 if above else -16), textcoords="offset points", fontsize=8, ha="center")
    axes.margins(x=0.15, y=0.15)
    axes.set(xlabel="mean milliseconds a frame", ylabel="success AUC")
    axes.grid(alpha=0.3)
    return figure


def success_and_precision(section: Section) -> Figure:
    """Draw the curves of one-pass evaluation, with AUC and precision in the legends."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    kinds = {
        "success": (metrics.SUCCESS_THRESHOLDS, "IoU above", "success_auc"),
        "precision": (metrics.PRECISION_LIMITS_PX, "centre within, px", "precision"),
        "normalised_precision": (
            metrics.NORMALISED_PRECISION_LIMITS,
            "centre within, of the target's size",
            "normalised_precision",
        ),
    }
    colours = run_colours(section)
    for axes, (curve, (thresholds, label, measure)) in zip(figure.subplots(1, 3), kinds.items(), strict=True):
        for run in section.runs:
            line = "-" if run["policy"].startswith("exit ") else "--"
            legend = f"{run['policy']}: {run['mean'][measure]:.3f}"
            axes.plot(thresholds, run["curves"][curve], line, color=colours[run["policy"]], linewidth=1.6, label=legend)
        axes.set(xlabel=label, ylim=(0, 1), xlim=(0, thresholds[-1]), title=curve.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False, loc="lower left" if curve == "success" else "lower right")
    figure.axes[0].set_ylabel("share of frames")
    return figure


def exit_shares(section: Section) -> tuple[Figure, str]:
    """Draw the share of frames of each exit by attribute, or by sequence without attributes, for runs that mix exits.

    Returns the figure and a phrase that says what its rows are.
    """
    runs = section.mixed
    if any(run["by_attribute"] for run in runs):
        unit = "attribute"
        found = [{name: each["exits"] for name, each in run["by_attribute"].items()} for run in runs]
    else:
        unit = "sequence"
        found = [{each["name"]: each["exits"] for each in run["sequences"]} for run in runs]
    names = sorted(found[0], key=lambda name: _mean_exit(found[0][name]))
    what = f"by {unit}"
    if len(names) > SHARES_ROWS:
        half = SHARES_ROWS // 2
        what = f"the {half} {unit}s with the earliest and the {half} with the latest exits, of {len(names)}"
        names = names[:half] + names[-half:]
    exits = sorted({exit_index for shares in found for taken in shares.values() for exit_index in taken})
    figure = Figure(figsize=(2.2 + 3.2 * len(runs), 1.3 + 0.24 * len(names)), layout="constrained")
    grid = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axes, run, shares in zip(grid, runs, found, strict=True):
        left = np.zeros(len(names))
        for exit_index in exits:
            width = np.array([_share(shares[name], exit_index) for name in names])
            axes.barh(names, width, left=left, color=exit_colour(exit_index), label=f"exit {exit_index}")
            left += width
        axes.set(xlim=(0, 1), xlabel="share of frames", title=run["policy"])
        axes.title.set_fontsize(10)
    grid[0].invert_yaxis()
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(exits), frameon=False)
    return figure, what


def _share(taken: dict[int, int], exit_index: int) -> float:
    return taken.get(exit_index, 0) / max(sum(taken.values()), 1)


def _mean_exit(taken: dict[int, int]) -> float:
    return sum(exit_index * count for exit_index, count in taken.items()) / max(sum(taken.values()), 1)


def difficulty(section: Section) -> Figure:
    """Draw success AUC by difficulty level, and the exits that adaptive runs took on each level."""
    levels = (section.difficulty or {})["levels"]
    columns = 1 + len(section.mixed)
    figure = Figure(figsize=(5.2 + 3 * len(section.mixed), 4.6), layout="constrained")
    grid = figure.subplots(1, columns, width_ratios=[1.7] + [1] * len(section.mixed), squeeze=False)[0]
    colours, axes = run_colours(section), grid[0]
    ticks = [
        f"{level}\nIoU {each['exit_1_iou'][0]:g}-{each['exit_1_iou'][1]:g}\n{each['share']:.0%}"
        for level, each in levels.items()
    ]
    for run in section.runs:
        values = [run["by_level"][level]["success_auc"] for level in levels]
        line = "-o" if run["policy"].startswith("exit ") else "--^"
        axes.plot(range(len(levels)), values, line, color=colours[run["policy"]], markersize=4, label=run["policy"])
    axes.set(ylabel="success AUC", ylim=(0, 1), title="by difficulty", xlabel="level, exit 1's IoU, share of frames")
    axes.set_xticks(range(len(levels)), ticks, fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    for axes, run in zip(grid[1:], section.mixed, strict=True):
        bottom = np.zeros(len(levels))
        for exit_index in sorted(run["mean"]["exits"]):
            height = np.array([_share(run["by_level"][level]["exits"], exit_index) for level in levels])
            axes.bar(
                range(len(levels)), height, bottom=bottom, color=exit_colour(exit_index), label=f"exit {exit_index}"
            )
            bottom += height
        axes.set(ylim=(0, 1), title=run["policy"], xlabel="level")
        axes.set_xticks(range(len(levels)), [str(level) for level in levels])
    if section.mixed:
        grid[1].set_ylabel("share of frames")
        figure.legend(
            *grid[1].get_legend_handles_labels(), loc="outside lower right", ncols=6, frameon=False, fontsize=8
        )
    return figure


def reliability(found: dict[int, dict]) -> Figure:
    """Draw mean IoU against mean score in ten bins for each exit, above the share of frames in each bin."""
    figure = Figure(figsize=(3.9 * len(found), 4.6), layout="constrained")
    grid = figure.subplots(2, len(found), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False)
    for (above, below), (exit_index, each) in zip(grid.T, found.items(), strict=True):
        bins = [one for one in each["bins"] if one["frames"]]
        scores, ious, frames = ([one[name] for one in bins] for name in ("mean_score", "mean_iou", "frames"))
        above.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
        above.vlines(scores, scores, ious, color=exit_colour(exit_index), alpha=0.35, linewidth=5)
        above.plot(scores, ious, "o-", color=exit_colour(exit_index))
        above.set(xlim=(0, 1), ylim=(0, 1), title=f"exit {exit_index}: error {each['calibration_error']:.3f}")
        above.grid(alpha=0.3)
        _shares_below(below, bins, frames, exit_colour(exit_index))
    grid[0, 0].set_ylabel("mean true IoU")
    grid[1, 0].set_ylabel("share of frames")
    return figure


def _shares_below(axes: Axes, bins: list[dict], frames: list[int], colour: str) -> None:
    width = [one["to"] - one["from"] for one in bins]
    left = [one["from"] for one in bins]
    axes.bar(left, np.array(frames) / max(sum(frames), 1), width=width, align="edge", color=colour, edgecolor="white")
    axes.set_xlabel("predicted IoU")
