"""Draws docs/images/architecture.svg, the data flow through the node: `python docs/images/architecture.py [FILE]`."""

import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

matplotlib.rcParams.update({"font.family": "DejaVu Sans", "svg.fonttype": "path", "svg.hashsalt": "dytrack_ros"})

INK, FAINT = "#1c2733", "#5b6b7a"
TOPIC, EXECUTOR, WORKER, NETWORK = "#eef1f4", "#dcebfa", "#e2f3e4", "#fdeed9"


class Drawing:
    def __init__(self):
        self.figure = Figure(figsize=(11, 6.6))
        self.axes = self.figure.add_subplot()
        self.axes.set(xlim=(0, 110), ylim=(0, 66))
        self.axes.axis("off")
        self.figure.subplots_adjust(0, 0, 1, 1)

    def zone(self, x, y, width, height, colour, title):
        self.axes.add_patch(
            FancyBboxPatch(
                (x, y), width, height, boxstyle="round,pad=0,rounding_size=1.2", fc=colour, ec="none", zorder=0
            )
        )
        self.axes.text(x + 1.2, y + height - 2.4, title, fontsize=9, color=FAINT, style="italic", zorder=3)

    def box(self, x, y, width, height, title, text=""):
        self.axes.add_patch(
            FancyBboxPatch(
                (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.8", fc="white", ec=FAINT, lw=0.9, zorder=2
            )
        )
        middle = y + height / 2
        self.axes.text(
            x + width / 2, middle + (1.2 if text else 0), title, ha="center", va="center", fontsize=9.5, color=INK,
            weight="bold", zorder=3,
        )  # fmt: skip
        if text:
            self.axes.text(
                x + width / 2, middle - 1.5, text, ha="center", va="center", fontsize=7.6, color=FAINT, zorder=3
            )

    def way(self, *points, text="", at=None, dashed=False, both=False):
        """A line through the points with a head at its end, or at both."""
        style = {"color": INK, "lw": 1.2, "zorder": 4, "ls": (0, (3, 2)) if dashed else "-", "solid_joinstyle": "round"}
        self.axes.plot(*zip(*points, strict=True), **style)
        for start, end in ((points[-2], points[-1]), *(((points[1], points[0]),) if both else ())):
            self.axes.annotate(
                "",
                end,
                start,
                zorder=4,
                arrowprops={
                    "arrowstyle": "-|>",
                    "mutation_scale": 12,
                    "color": INK,
                    "lw": 0,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
        if text:
            self.axes.text(*at, text, ha="center", va="center", fontsize=7.6, color=INK, zorder=5)


def draw() -> Figure:
    d = Drawing()
    d.zone(1, 1, 14, 64, TOPIC, "in")
    d.zone(18, 1, 19, 64, EXECUTOR, "executor thread")
    d.zone(42, 1, 49, 64, WORKER, "worker thread")
    d.zone(44, 22, 45, 26.5, NETWORK, "Engine: torch, openvino, onnxruntime or tensorrt")
    d.zone(95, 1, 14, 64, TOPIC, "out")

    d.box(2.2, 53.5, 11.6, 6, "init", "box and stamp")
    d.box(2.2, 43, 11.6, 6, "image", "raw or compressed")
    d.box(2.2, 11, 11.6, 6, "parameters", "~/stop, ~/enable")

    d.box(20, 43, 15, 6, "Intake", "odd stamps, time jumps")
    d.box(20, 33, 15, 6, "FrameRing", "images of the last 2 s")
    d.box(20, 23, 15, 6, "Mailbox", "one frame: the newest")
    d.box(20, 11, 15, 6, "LiveParameters", "checked by one table")
    d.box(20, 3, 15, 6, "Faults, Health", "counted, each second")

    d.box(44, 53.5, 13, 6, "Follower", "start, catch-up, stop")
    d.box(60, 53.5, 13, 6, "ImageView", "the message's bytes")
    d.box(76, 53.5, 13, 6, "crop", "search region only")

    for number, (x, layers) in enumerate(((45.5, "layers 1 to 2"), (60, "layers 3 to 6"), (74.5, "layers 7 to 12")), 1):
        d.box(x, 36, 13, 6, f"stage {number}", layers)
        d.box(x, 25, 13, 6, f"exit {number}", "score, box head")
        d.way((x + 6.5, 36), (x + 6.5, 31), text="advance", at=(x + 9.6, 33.5))
    d.box(45.5, 11, 27.5, 6, "ExitPolicy", "FrameBudget: is this exit enough?")
    d.box(76, 11, 13, 6, "TargetState", "Recovery: search")

    d.box(96.2, 53.5, 11.6, 6, "detection", "box in pixels")
    d.box(96.2, 45.5, 11.6, 6, "target_offset", "for control")
    d.box(96.2, 37.5, 11.6, 6, "status", "one a frame")
    d.box(96.2, 29.5, 11.6, 6, "overlay", "while watched")
    d.box(96.2, 3, 11.6, 6, "/diagnostics", "three tasks")

    d.way((13.8, 56.5), (44, 56.5), text="request", at=(28, 57.6))
    d.way((13.8, 46), (20, 46))
    d.way((27.5, 43), (27.5, 39))
    d.way((27.5, 33), (27.5, 29))
    d.way((13.8, 14), (20, 14))
    d.way((35, 14), (45.5, 14), dashed=True, text="between\nframes", at=(40.2, 16.2))
    d.way((35, 36), (38.6, 36), (38.6, 55.2), (44, 55.2), dashed=True)
    d.way((35, 26), (40.2, 26), (40.2, 54.2), (44, 54.2), text="take", at=(37.6, 27.1))
    d.way((57, 56.5), (60, 56.5))
    d.way((73, 56.5), (76, 56.5))
    d.way((82.5, 53.5), (82.5, 50.5), (52, 50.5), (52, 42), text="begin: the search region, 256 px", at=(67, 51.6))
    d.way((58.5, 39), (60, 39))
    d.way((73, 39), (74.5, 39))
    d.way((52, 25), (52, 17), both=True, text="score, yes or no", at=(58, 19.7))
    d.way((66.5, 25), (66.5, 17), both=True)
    d.way((81, 25), (81, 17), text="locate: the box\nof the exit taken", at=(86.2, 19.8))
    d.way((89, 14), (93, 14), (93, 56.5), (96.2, 56.5))
    for y in (48.5, 40.5, 32.5):
        d.way((93, y), (96.2, y))
    d.way((35, 6), (96.2, 6))
    return d.figure


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    draw().savefig(target, dpi=110, metadata={"Date": None} if target.suffix == ".svg" else None)
