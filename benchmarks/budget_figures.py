"""The figures of docs/budget.md, from the results of ``budget.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

EXIT_COLOURS = {1: "#2a9d8f", 2: "#e9c46a", 3: "#e76f51"}
CURVES = {
    "exit": ("every frame at one exit", "s", "#555555"),
    "lots": ("drawing lots", "x", "#bbbbbb"),
    "naive": ("one threshold for all exits", "^", "#8ab6d6"),
    "budget": ("FrameBudget", "o", "#d1495b"),
    "ahead": ("FrameBudget, predict_ahead", "*", "#7b2d8b"),
}


def draw(results: dict, folder: Path) -> None:
    """Draws what there are results of."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in (("accuracy", accuracy), ("response", response)):
        if name in results:
            path = folder / f"budget_{name}.png"
            figure(results[name]).savefig(path, dpi=110)
            print(f"wrote {path}")


def accuracy(result: dict):
    """Success AUC against mean milliseconds (the paper's Figure 8)."""
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for kind, (label, marker, colour) in CURVES.items():
        runs = sorted((r for r in result["runs"] if r["policy"].startswith(kind)), key=lambda r: r["mean_ms"])
        line = "-" if kind == "budget" else ":" if kind in ("exit", "lots") else "none"
        axes.plot(
            [r["mean_ms"] for r in runs], [r["auc"] for r in runs],
            marker=marker, linestyle=line, color=colour, label=label, markersize=9 if kind == "ahead" else 6,
        )  # fmt: skip
        if kind == "exit":
            for run in runs:
                axes.annotate(run["policy"], (run["mean_ms"], run["auc"]), (4, -12), textcoords="offset points")
    axes.set(xlabel="mean milliseconds a frame", ylabel="success AUC")
    axes.set_title(
        f"{result['model']}, {result['engine']}, {result['cores']} cores, {result['frames']} frames", fontsize=10
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def response(result: dict):
    """Frame times and thrift through a slow-down, a change of the camera's rate, and random load."""
    parts = {
        "slow_down_step": "both cores burnt by others in the middle third",
        "camera_rate_change": "another camera rate in the middle third",
        "random_load": "random load by others",
    }
    figure, grid = plt.subplots(2, 3, figsize=(15, 5.4), sharex="col", height_ratios=(3, 1), layout="constrained")
    for (times, thrifts), (name, title) in zip(grid.T, parts.items(), strict=True):
        trace = result[name]["trace"]
        ms = np.array([frame["ms"] for frame in trace])
        exits = np.array([frame["exit"] for frame in trace])
        numbers = np.arange(len(trace))
        for exit_index, colour in EXIT_COLOURS.items():
            chosen = exits == exit_index
            times.plot(numbers[chosen], ms[chosen], ".", color=colour, markersize=3, label=f"exit {exit_index}")
        times.plot(numbers, running_mean(ms, 30), color="black", linewidth=1.3, label="mean of 30 frames")
        times.plot(numbers, [frame["budget_ms"] for frame in trace], "--", color="#d1495b", label="budget")
        if "deadline_ms" in result[name]:
            times.axhline(result[name]["deadline_ms"], color="#888888", linewidth=0.8, label="deadline")
        times.set(title=title, ylim=(0, 1.35 * np.quantile(ms, 0.99)))
        thrifts.plot(numbers, [frame["thrift"] for frame in trace], color="#264653", linewidth=1)
        thrifts.set(xlabel="frame", ylim=(-0.05, 1.05))
    grid[0, 0].set_ylabel("milliseconds")
    grid[1, 0].set_ylabel("thrift")
    grid[0, 0].legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    return figure


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each value and those up to ``window`` - 1 before it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
