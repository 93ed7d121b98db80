"""The parameters of tracker_node.

`config/tracker.yaml` is written from this table (a test compares them):

    python3 -m dytrack_ros.nodes.parameters > config/tracker.yaml
"""

from __future__ import annotations

from dytrack_ros.engines.registry import ENGINE_PRECISIONS, ENGINES
from dytrack_ros.nodes.parameter_schema import Parameter, as_yaml
from dytrack_ros.policies.budget_source import MODES, BudgetSource
from dytrack_ros.policies.exit_policy import DEFAULT_THRESHOLDS
from dytrack_ros.tracking import RecoverySettings, StateThresholds, TrackerConfig

AUTO = "auto"
"""The value of `model` that lets the node choose."""

TRACKER = (
    Parameter(
        "model",
        AUTO,
        "Name of a shipped model or path of a .safetensors file. auto: the shipped model with the highest expected "
        "accuracy within the budget on this machine; budget.mode camera counts as 30 Hz.",
        read_only=True,
    ),
    Parameter(
        "engine",
        "auto",
        "Inference engine; auto takes the fastest one that is installed.",
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
        "Arithmetic of the engine. auto: the fastest that the processor has (bf16, fp16); fp32: exact; int8: the "
        "quantised graphs that `dytrack quantise` made of the model, on OpenVINO and the CPU.",
        choices=ENGINE_PRECISIONS,
        read_only=True,
    ),
    Parameter("threads", 0, "CPU threads of the engine; 0: one a core.", 0, 256, read_only=True),
    Parameter(
        "image_transport",
        "raw",
        "raw subscribes to image, compressed to image/compressed.",
        choices=("raw", "compressed"),
        read_only=True,
    ),
    Parameter(
        "image.range",
        (0.0, 0.0),
        "Lowest and highest value that are mapped to 8 bits, of images with more than 8 bits a value, such as those of "
        "thermal cameras; [0.0, 0.0]: found in the image of the init and adapted slowly.",
    ),
    Parameter(
        "exit.policy",
        "thresholds",
        "thresholds: leave at the first exit whose predicted IoU is above its threshold, as lowered by the budget; "
        "fixed: always leave at exit.fixed.",
        choices=("thresholds", "fixed"),
    ),
    Parameter(
        "exit.tau_1",
        DEFAULT_THRESHOLDS[0],
        "Leave at exit 1 if its predicted IoU is above this; lower is faster. The budget lowers it if time is short.",
        0.0,
        1.0,
        from_model=True,
    ),
    Parameter(
        "exit.tau_2",
        DEFAULT_THRESHOLDS[1],
        "Leave at exit 2 if its predicted IoU is above this; lower is faster. The budget lowers it if time is short.",
        0.0,
        1.0,
        from_model=True,
    ),
    Parameter("exit.fixed", 3, "Exit that exit.policy fixed takes, counted from 1.", 1, 3),
    Parameter(
        "budget.mode",
        BudgetSource.mode,
        "Limit on the mean time of a frame. camera: the measured period of the camera; rate: budget.rate_hz; "
        "milliseconds: budget.milliseconds; unlimited: none.",
        choices=MODES,
    ),
    Parameter(
        "budget.rate_hz",
        BudgetSource.rate_hz,
        "Frame rate to keep, decoding and publishing included, Hz. Used in budget.mode rate.",
        0.5,
        120.0,
    ),
    Parameter(
        "budget.milliseconds",
        BudgetSource.milliseconds,
        "Mean time of tracking a frame, without decoding and publishing, ms. Used in budget.mode milliseconds.",
        0.1,
        1000.0,
    ),
    Parameter(
        "budget.headroom",
        BudgetSource.headroom,
        "Share of the camera's period that a frame may take on average, decoding and publishing included. "
        "Used in budget.mode camera.",
        0.1,
        1.0,
    ),
    Parameter(
        "budget.deadline_ms",
        0.0,
        "No frame goes deeper if it would then take longer than this, decoding and publishing included, ms; "
        "0: no deadline.",
        0.0,
        1000.0,
    ),
    Parameter(
        "budget.keep_period",
        False,
        "Make the camera's period (or the number of periods that a frame gets) a deadline too. "
        "Used in budget.mode camera.",
    ),
    Parameter(
        "budget.deadline_sigmas",
        3.0,
        "Safety margin of the deadlines, in standard deviations of the frame time.",
        0.0,
        10.0,
    ),
    Parameter(
        "lost.score",
        StateThresholds.lost,
        "The target is LOST after lost.frames consecutive frames with a predicted IoU below this.",
        0.0,
        1.0,
    ),
    Parameter(
        "lost.uncertain_score",
        StateThresholds.uncertain,
        "The target is UNCERTAIN while its predicted IoU is below this; a value below lost.score acts as lost.score.",
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
        "Consecutive frames below lost.score that make the target LOST.",
        1,
        100,
    ),
    Parameter(
        "lost.deepen",
        RecoverySettings.deepen,
        "While the target is UNCERTAIN or LOST, use the deepest exit that budget and deadline allow.",
    ),
    Parameter(
        "lost.search",
        RecoverySettings.search,
        "Search the whole image for a LOST target, one window a frame, nearest first; false: only its last position.",
    ),
    Parameter(
        "lost.match",
        RecoverySettings.match,
        "Least similarity to the target's earlier appearance that ends LOST: 1 is the same image, -1 accepts anything.",
        -1.0,
        1.0,
    ),
    Parameter("lost.hide", False, "Publish no detection while the target is LOST; status is published all the same."),
    Parameter(
        "init.correction",
        TrackerConfig.init_correction,
        "Share of the difference between the init box and the network's box on the same image that is corrected in "
        "later boxes; lower it for inexact init boxes. If raised from 0 it takes effect at the next init.",
        0.0,
        1.0,
    ),
    Parameter(
        "init.entering_growth",
        TrackerConfig.entering_growth,
        "Growth of the area at which a target that the image's border cut off at init gets a new template, once it is "
        "inside. 1000: never.",
        1.0,
        1000.0,
    ),
    Parameter(
        "motion.prior",
        TrackerConfig.motion_prior,
        "Preference for a small motion between two images: holds the target among look-alikes, but is slower to follow "
        "jumps. 0: none.",
        0.0,
        20.0,
    ),
    Parameter(
        "motion.size_damping",
        TrackerConfig.size_damping,
        "How much a low score holds back changes of the box's size: keeps the search region small while the target is "
        "occluded, but is slower to follow fast changes of size. 0: not at all.",
        0.0,
        1.0,
    ),
    Parameter("catch_up.seconds", 2.0, "Greatest age of an image that an init may name, s.", 0.0, 60.0),
    Parameter("catch_up.mebibytes", 64.0, "Memory for the images that are kept for an init, MiB.", 1.0, 1024.0),
    Parameter("overlay.enabled", True, "Draw and publish overlay and markers while they have subscribers."),
)


def tracker_yaml() -> str:
    """Return the content of `config/tracker.yaml`."""
    return as_yaml(TRACKER, "/**", "tracker_node", "dytrack_ros.nodes.parameters")


if __name__ == "__main__":
    print(tracker_yaml(), end="")
