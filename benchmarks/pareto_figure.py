"""Success AUC against milliseconds, of every exit of every shipped model and of what its thresholds make of them.

Reads the model cards and the results of ``benchmark`` (benchmarks/results/engines.json); draws docs/images/pareto.png.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
# Of the card's variants, the plain one; of the sizes that ``benchmark`` has measured, the middle one.
VARIANT, SIZE = "standard", "1280x720"


class Point(NamedTuple):
    """``name`` is an exit's number or ``adaptive``."""

    name: str
    ms: float
    auc: float


def points(card: dict[str, Any], engine: dict[str, Any]) -> list[Point]:
    """The exits of a model in order, then, if the card has it, what its thresholds make of them.

    ``engine`` is one entry of the benchmark's results. A frame takes what its exit takes, so the adaptive tracker takes
    the mean over the exits that its card has counted.
    """
    found = card["evaluation"][VARIANT]
    exit_ms = [each["p50_ms"] for each in engine["end_to_end"][SIZE]["exits"]]
    exits = [
        Point(str(number), ms, found[f"exit {number}"]["success_auc"])
        for number, ms in enumerate(exit_ms, 1)
        if f"exit {number}" in found
    ]
    if "adaptive" in found:
        counts = found["adaptive"]["exits"]
        spent = sum(count * exit_ms[int(number) - 1] for number, count in counts.items())
        exits.append(Point("adaptive", spent / sum(counts.values()), found["adaptive"]["success_auc"]))
    return exits


def fastest(results: dict[str, Any], model: str) -> dict[str, Any] | None:
    """The entry of the engine that runs the model fastest; None if it was not measured."""
    entries = [entry for entry in results["engines"] if entry["model"] == model and SIZE in entry.get("end_to_end", {})]
    return min(entries, key=lambda entry: entry["end_to_end"][SIZE]["exits"][-1]["p50_ms"], default=None)


def draw(cards: list[dict[str, Any]], results: dict[str, Any], path: Path) -> list[str]:
    """Draws the models that there are cards and times of; returns their names. Says on stderr which it left out."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained", facecolor="white")
    drawn = []
    for card, colour in zip(cards, COLOURS * len(cards), strict=False):
        engine = fastest(results, card["model"])
        if engine is None:
            print(f"left out {card['model']}: engines.json has no times of it; run benchmark", file=sys.stderr)
            continue
        _draw_model(axes, card["model"], engine["engine"], points(card, engine), colour)
        drawn.append(card["model"])
    machine = results["machine"]
    axes.set(xlabel=f"milliseconds a frame at {SIZE}", ylabel="success AUC")
    axes.set_title(f"{machine['usable_cores']} cores of {machine['cpu']}", fontsize=9)
    axes.margins(x=0.12, y=0.2)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return drawn


def _draw_model(axes, model: str, engine: str, found: list[Point], colour: str) -> None:
    exits = [point for point in found if point.name != "adaptive"]
    axes.plot(
        [point.ms for point in exits], [point.auc for point in exits], "s-", color=colour, label=f"{model}, {engine}"
    )
    for point in exits:
        axes.annotate(f"exit {point.name}", (point.ms, point.auc), (6, -14), textcoords="offset points")
    for point in found[len(exits) :]:
        axes.plot(point.ms, point.auc, "*", color=colour, markersize=14, markeredgecolor="white")
        axes.annotate("adaptive", (point.ms, point.auc), (0, 10), textcoords="offset points", ha="center")
