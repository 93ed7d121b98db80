"""Every parameter of the nodes, in one table a node: the table declares, checks, documents and tests them.

`config/tracker.yaml` is written from here (and a test compares them):

    python3 -m dytrack_ros.nodes.parameters > config/tracker.yaml
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dytrack_ros.engines.registry import ENGINE_PRECISIONS, ENGINES
from dytrack_ros.policies.budget_source import MODES, BudgetSource
from dytrack_ros.tracking import RecoverySettings, StateThresholds, TemplateSettings
from dytrack_ros.tracking.tracker import DEFAULT_THRESHOLDS, INIT_CORRECTION

Value = bool | int | float | str | tuple[float, ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is its default's (a tuple stands for a list of doubles, always as long as the default).

    Attributes:
        name: dotted, lower-case.
        minimum, maximum: the allowed range of a number, both included.
        choices: the allowed words of a string (empty: any).
        read_only: can only be set at start.
    """

    name: str
    default: Value
    description: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    @property
    def allowed(self) -> str:
        """What may be set, in words; empty where anything of the right type may."""
        if self.minimum is not None:
            return f"{self.minimum} to {self.maximum}"
        return " | ".join(self.choices)

    def complaint(self, value: Value) -> str:
        """Why this value is refused, with what is allowed; empty if it is fine."""
        if self.minimum is not None and not self.minimum <= value <= self.maximum:
            return f"{self.name} must be in {self.minimum} to {self.maximum}, not {value}"
        if self.choices and value not in self.choices:
            return f"{self.name} must be one of {', '.join(self.choices)}, not '{value}'"
        if isinstance(self.default, tuple) and (len(value) != len(self.default) or not all(map(math.isfinite, value))):
            return f"{self.name} must be {len(self.default)} finite numbers, not {list(value)}"
        return ""


TRACKER = (
    Parameter(
        "model",
        "",
        "Shipped model name or path of a .safetensors file; empty: the default for this machine.",
        read_only=True,
    ),
    Parameter(
        "engine",
        "auto",
        "What runs the network; auto takes the fastest one that is installed.",
        choices=ENGINES,
        read_only=True,
    ),
    Parameter(
        "device",
        "auto",
        "Device of the engine, such as cpu, cuda or cuda:1; auto takes a GPU if there is one.",
        read_only=True,
    ),
    Parameter(
        "precision",
        "auto",
        "auto takes the fastest that the chip computes in (bf16, fp16), fp32 is exact; int8 takes the graphs that the command "
        "quantise has made of the model, in OpenVINO on the CPU.",
        choices=ENGINE_PRECISIONS,
        read_only=True,
    ),
    Parameter("threads", 0, "CPU threads of the engine; 0: as many as there are cores.", 0, 256, read_only=True),
    Parameter(
        "image_transport",
        "raw",
        "raw subscribes to image, compressed to image/compressed.",
        choices=("raw", "compressed"),
        read_only=True,
    ),
    Parameter(
        "exit.policy",
        "thresholds",
        "thresholds: leave at the first exit that predicts an IoU above its threshold, which the budget sets; "
        "fixed: always leave at exit.fixed, whatever the budget.",
        choices=("thresholds", "fixed"),
    ),
    Parameter(
        "exit.tau_1",
        DEFAULT_THRESHOLDS[0],
        "Leave at exit 1 if its predicted IoU is above this; lower is faster. Counts where there is no budget: "
        "budget.mode off, or camera and its period not known yet.",
        0.0,
        1.0,
    ),
    Parameter(
        "exit.tau_2",
        DEFAULT_THRESHOLDS[1],
        "Leave at exit 2 if its predicted IoU is above this; lower is faster. Counts where there is no budget: "
        "budget.mode off, or camera and its period not known yet.",
        0.0,
        1.0,
    ),
    Parameter(
        "exit.trust_rate",
        0.0,
        "How quickly a target teaches how far its exits' scores can be believed, from frames that go deeper, whose boxes are "
        "compared now and then; 0: not at all, the paper's rule. Counts where there is no budget.",
        0.0,
        1.0,
    ),
    Parameter(
        "exit.impatience",
        0.0,
        "By what part of itself exit 1's threshold rises with every frame in a row that exit 1 has answered; 0: not at all, the "
        "paper's rule. Counts where there is no budget.",
        0.0,
        10.0,
    ),
    Parameter("exit.fixed", 3, "The exit that exit.policy fixed takes, counted from 1.", 1, 3),
    Parameter(
        "budget.mode",
        BudgetSource.mode,
        "What sets the time that a frame may take on average: the camera's own period, budget.rate_hz, "
        "budget.milliseconds, or off: nothing does, exit.tau_1 and exit.tau_2 count.",
        choices=MODES,
    ),
    Parameter(
        "budget.rate_hz",
        BudgetSource.rate_hz,
        "Frames a second to keep, decoding and publishing included. Counts when budget.mode is rate.",
        0.1,
        1000.0,
    ),
    Parameter(
        "budget.milliseconds",
        BudgetSource.milliseconds,
        "Mean milliseconds of tracking a frame, without decoding and publishing. "
        "Counts when budget.mode is milliseconds.",
        0.1,
        10_000.0,
    ),
    Parameter(
        "budget.headroom",
        BudgetSource.headroom,
        "The part of the camera's period that a frame may take on average, decoding and publishing included. "
        "Counts when budget.mode is camera.",
        0.1,
        1.0,
    ),
    Parameter(
        "budget.deadline_ms",
        0.0,
        "No frame goes deeper if it would then take longer than this, decoding and publishing included, ms; 0: none. "
        "Counts while there is a budget.",
        0.0,
        10_000.0,
    ),
    Parameter(
        "budget.keep_period",
        True,
        "No frame goes deeper if it would then take longer than the camera's period, or the periods that it gets, decoding "
        "and publishing included. Counts when budget.mode is camera.",
    ),
    Parameter(
        "budget.deadline_sigmas",
        3.0,
        "Standard deviations of the frame time by which the deadline is kept on the safe side. "
        "Counts when budget.deadline_ms is not 0, and for budget.keep_period.",
        0.0,
        10.0,
    ),
    Parameter(
        "budget.predict_ahead",
        False,
        "Choose a frame's exit before it starts, from the scores of the frame before. Counts while there is a budget.",
    ),
    Parameter(
        "lost.score",
        StateThresholds.lost,
        "Below this predicted IoU, for lost.frames frames in a row, the target counts as LOST.",
        0.0,
        1.0,
    ),
    Parameter(
        "lost.uncertain_score",
        StateThresholds.uncertain,
        "Below this predicted IoU the target counts as UNCERTAIN.",
        0.0,
        1.0,
    ),
    Parameter(
        "lost.hysteresis",
        StateThresholds.hysteresis,
        "An UNCERTAIN or LOST target is TRACKING again from lost.uncertain_score plus this on.",
        0.0,
        1.0,
    ),
    Parameter(
        "lost.frames",
        StateThresholds.lost_frames,
        "Frames in a row below lost.score that make the target LOST.",
        1,
        1000,
    ),
    Parameter(
        "lost.deepen",
        RecoverySettings.deepen,
        "While the target is UNCERTAIN or LOST, go as deep as budget and deadline allow, whatever the scores.",
    ),
    Parameter(
        "lost.search",
        RecoverySettings.search,
        "Look for a LOST target in the whole image, too, a window a frame, nearest first; otherwise only where it was last seen.",
    ),
    Parameter(
        "lost.match",
        RecoverySettings.match,
        "How alike to the target's earlier looks a find must be to end LOST: 1 is the same picture, -1 takes anything.",
        -1.0,
        1.0,
    ),
    Parameter("lost.hide", False, "Publish no detection while the target is LOST (status goes on)."),
    Parameter(
        "template.update",
        False,
        "Mix newer pictures of the target, of frames that are sure at full depth, into its template.",
    ),
    Parameter(
        "template.share", TemplateSettings.share, "The part of the template that is the newest such picture.", 0.0, 0.9
    ),
    Parameter(
        "init.correction",
        INIT_CORRECTION,
        "How much of the difference between the init box and what the network finds there is corrected in later boxes; less "
        "for init boxes that are only guesses. Raised from 0 it counts from the next init on.",
        0.0,
        1.0,
    ),
    Parameter(
        "catch_up.seconds", 2.0, "How far back an init may be stamped: frames of this many seconds are kept.", 0.0, 60.0
    ),
    Parameter("catch_up.mebibytes", 64.0, "Memory for the frames that are kept for a stamped init, MiB.", 1.0, 4096.0),
    Parameter("overlay.enabled", True, "Draw and publish overlay and markers while somebody listens to them."),
)


def complaint(table: tuple[Parameter, ...], values: Mapping[str, Value]) -> str:
    """Why these values (one for each name of the table) cannot be in force together; empty if they can."""
    for parameter in table:
        if reason := parameter.complaint(values[parameter.name]):
            return reason
    if "lost.score" in values and values["lost.score"] > values["lost.uncertain_score"]:
        return (
            f"lost.score must be in 0.0 to lost.uncertain_score ({values['lost.uncertain_score']}), "
            f"not {values['lost.score']}; set both together or lost.uncertain_score first"
        )
    return ""


def as_yaml(
    table: tuple[Parameter, ...],
    key: str = "/**",
    node: str = "tracker_node",
    module: str = "dytrack_ros.nodes.parameters",
) -> str:
    """The table as a commented ROS parameter file with every default, for the nodes that `key` names."""
    lines = [
        f"# Every parameter of {node} with its default. Live ones can be changed with `ros2 param set`.",
        f"# Written by `python3 -m {module}`; change the table there, not this file.",
        f"{key}:",
        "  ros__parameters:",
    ]
    open_group = ""
    for parameter in table:
        group, _, key = parameter.name.rpartition(".")
        if group and group != open_group:
            lines.append(f"    {group}:")
        open_group = group
        indent = "      " if group else "    "
        notes = [note for note in (parameter.allowed, "read-only" if parameter.read_only else "live") if note]
        lines += [
            f"{indent}# {parameter.description} [{'; '.join(notes)}]",
            f"{indent}{key}: {_yaml(parameter.default)}",
        ]
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    print(as_yaml(TRACKER), end="")
