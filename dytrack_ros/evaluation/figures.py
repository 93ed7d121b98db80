"""Figures of a report: success AUC against time, success plot, reliability of the scores. Needs Matplotlib."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from dytrack_ros.evaluation.metrics import SUCCESS_THRESHOLDS

# Okabe and Ito's palette for colour-blind readers.
COLOURS = ("#009e73", "#e69f00", "#d55e00", "#0072b2", "#cc79a7", "#56b4e9", "#999999", "#f0e442")


def write_figures(folder: Path, report: dict) -> list[Path]:
    """Draw the figures of each set, variant and rate in ``report`` (the JSON of ``dytrack evaluate``) as PNG files.

    Returns their paths. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, runs in _groups(report):
        figures = {"pareto": pareto(runs), "success": success_plot(runs), "reliability": reliability(runs)}
        for kind, figure in figures.items():
            if figure is not None:
                figure.axes[0].set_title(name, fontsize=9, loc="left")
                paths.append(folder / f"{re.sub(r'[^0-9A-Za-z_.-]+', '_', name)}_{kind}.png")
                figure.savefig(paths[-1], dpi=100)
    return paths


def _groups(report: dict) -> Iterator[tuple[str, list[dict]]]:
    """Yield the runs that can be compared with each other, with the name of their set, variant and rate."""
    for each in report["sets"]:
        groups: dict[str, list[dict]] = {}
        for run in each["runs"]:
            rate = "offline" if run["stream_hz"] is None else f"{run['stream_hz']:g} Hz"
            groups.setdefault(f"{each['name']} {run['variant']} {rate}", []).append(run)
        yield from groups.items()


def pareto(runs: list[dict]) -> Figure:
    """Draw success AUC against mean milliseconds (the paper's Figure 8)."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    places = {run["policy"]: (run["mean"]["mean_ms"], run["mean"]["success_auc"]) for run in runs}
    for kind, line in (("exit ", ":"), ("budget", "-")):
        of_kind = sorted(place for policy, place in places.items() if policy.startswith(kind))
        axes.plot([ms for ms, _ in of_kind], [auc for _, auc in of_kind], line, color="#888888", linewidth=1, zorder=1)
    for (policy, place), colour in zip(places.items(), COLOURS * len(places), strict=False):
        axes.scatter(*place, s=60, color=colour, zorder=2)
        axes.annotate(policy, place, (0, 8), textcoords="offset points", fontsize=8, ha="center")
    axes.margins(x=0.15, y=0.15)
    axes.set(xlabel="mean milliseconds a frame", ylabel="success AUC")
    axes.grid(alpha=0.3)
    return figure


def success_plot(runs: list[dict]) -> Figure:
    """Draw the share of frames above each IoU, with the AUC in the legend."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    for run, colour in zip(runs, COLOURS * len(runs), strict=False):
        label = f"{run['policy']}: {run['mean']['success_auc']:.3f}"
        axes.plot(SUCCESS_THRESHOLDS, run["success_curve"], color=colour, label=label)
    axes.set(xlabel="IoU above", ylabel="share of frames", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def reliability(runs: list[dict]) -> Figure | None:
    """Draw mean IoU against mean score in ten bins for each fixed exit, above the share of frames in each bin.

    Returns None without a run of a fixed exit.
    """
    found = {
        run["policy"]: each["reliability"]
        for run in runs if run["policy"].startswith("exit ") for each in run["by_exit"].values()
    }  # fmt: skip
    if not found:
        return None
    figure = Figure(figsize=(3.9 * len(found), 4.6), layout="constrained")
    grid = figure.subplots(2, len(found), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False)
    for (above, below), (policy, each), colour in zip(grid.T, found.items(), COLOURS, strict=False):
        bins = [one for one in each["bins"] if one["frames"]]
        scores, ious = [one["mean_score"] for one in bins], [one["mean_iou"] for one in bins]
        above.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
        above.plot(scores, ious, "o-", color=colour, label=f"{policy}: error {each['calibration_error']:.3f}")
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="mean true IoU")
        above.grid(alpha=0.3)
        above.legend(fontsize=8, frameon=False, loc="upper left")
        shares = [one["frames"] / each["frames"] for one in bins]
        below.bar([one["from"] for one in bins], shares, width=0.1, align="edge", color=colour, edgecolor="white")
        below.set(xlabel="predicted IoU", ylabel="share of frames")
    return figure
