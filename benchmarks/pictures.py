#!/usr/bin/env python3
"""Draws every picture of README.md and docs/ again: `make pictures`, or by name, such as

    tools/ros_env benchmarks/pictures.py pareto budget

demo      docs/images/demo.webp: the demo is run, which takes a minute
pareto    docs/images/pareto.png, from the model cards and benchmarks/results/engines.json
budget    docs/images/budget_*.png, from benchmarks/results/budget.json
node      docs/images/node_soak.png, from benchmarks/results/node.json, if that has a soak
panel     the panel's, by benchmarks/panel_picture.py, if that is there
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # not there by itself under PYTHONSAFEPATH, which tools/ros_env sets

RESULTS = HERE / "results"
IMAGES = HERE.parent / "docs" / "images"
CARDS = HERE.parent / "dytrack_ros" / "weights"


def demo() -> None:
    from demo_picture import draw

    draw(IMAGES / "demo.webp")


def pareto() -> None:
    from pareto_figure import draw

    draw(model_cards(CARDS), _results("engines"), IMAGES / "pareto.png")


def budget() -> None:
    from budget_figures import draw

    draw(_results("budget"), IMAGES)


def node() -> None:
    from node_report import draw

    results = _results("node")
    if "soak" in results:
        draw(results, IMAGES)
    else:
        print("node.json has no soak, so there is no figure of it")


def panel(script: Path = HERE / "panel_picture.py") -> None:
    if script.is_file():
        subprocess.run([sys.executable, script], check=True)
    else:
        print(f"there is no {script.name}, so there is no picture of a panel")


PICTURES: dict[str, Callable[[], None]] = {
    "demo": demo,
    "pareto": pareto,
    "budget": budget,
    "node": node,
    "panel": panel,
}


def model_cards(folder: Path) -> list[dict[str, Any]]:
    """The cards of the models in a folder of weights, by name."""
    cards = [json.loads(weights.with_suffix(".json").read_text()) for weights in sorted(folder.glob("*.safetensors"))]
    return [card for card in cards if "evaluation" in card]


def _results(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PICTURES)}; none: all of them")
    names = parser.parse_args(args).names or list(PICTURES)
    if unknown := set(names) - PICTURES.keys():
        parser.error(f"there is no picture {', '.join(sorted(unknown))}: choose from {', '.join(PICTURES)}")
    for name in names:
        print(f"drawing {name} ...", flush=True)
        PICTURES[name]()


if __name__ == "__main__":
    main()
