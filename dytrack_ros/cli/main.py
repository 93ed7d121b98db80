"""The command ``dytrack``: dispatch to its subcommands. A subcommand's module is imported when it is called."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from dytrack_ros.version import __version__

INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True)
class Subcommand:
    """``module`` has ``main(argv) -> int``, the exit status; ``summary`` is its line in ``dytrack --help``."""

    module: str
    summary: str
    needs_ros: bool = False


SUBCOMMANDS = {
    "train": Subcommand("dytrack_ros.cli.train", "train a model"),
    "evaluate": Subcommand("dytrack_ros.cli.evaluate", "accuracy of each exit and policy on sequences and in streams"),
    "calibrate": Subcommand("dytrack_ros.cli.calibrate", "choose exit thresholds for FrameBudget from sequences"),
    "export": Subcommand("dytrack_ros.cli.export", "write the network as ONNX graphs"),
    "quantise": Subcommand("dytrack_ros.cli.quantise", "make int8 graphs for OpenVINO"),
    "benchmark": Subcommand("dytrack_ros.cli.benchmark", "speed and memory of engines on this machine"),
    "pack": Subcommand("dytrack_ros.cli.pack", "pack datasets into shards for training"),
    "narrow": Subcommand("dytrack_ros.cli.narrow", "write weights with a smaller search region"),
    "demo": Subcommand("dytrack_ros.nodes.demo.run", "track a clip in a ROS 2 graph", needs_ros=True),
}


def help_text() -> str:
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  {name:{width}}  {each.summary}" for name, each in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "usage: dytrack COMMAND [OPTION ...]",
            "       dytrack COMMAND --help",
            "",
            "DyTrack, an early-exit transformer tracker for robots.",
            "",
            "commands:",
            *lines,
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the subcommand that the first argument names.

    Returns its exit status; 2 for a wrong call, INTERRUPTED after Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(help_text(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"dytrack {__version__}")
        return 0
    name, *rest = arguments
    if name not in SUBCOMMANDS:
        nearest = difflib.get_close_matches(name, SUBCOMMANDS, n=1, cutoff=0.5)
        advice = f"did you mean `{nearest[0]}`?" if nearest else f"there are: {', '.join(SUBCOMMANDS)}"
        print(f"dytrack: unknown command {name!r}; {advice}", file=sys.stderr)
        return 2
    subcommand = SUBCOMMANDS[name]
    if subcommand.needs_ros and (missing := _missing_ros()):
        print(f"dytrack {name}: {missing}; run it as `ros2 run dytrack_ros dytrack {name}`", file=sys.stderr)
        return 2
    with _silent_interrupt():
        module = importlib.import_module(subcommand.module)
    try:
        return module.main(rest)
    except KeyboardInterrupt:
        return INTERRUPTED


@contextlib.contextmanager
def _silent_interrupt() -> Iterator[None]:
    """End the process at once on Ctrl-C: KeyboardInterrupt would print a traceback of imports, or be lost in them."""
    before = signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _missing_ros() -> str:
    """The reason why ROS nodes cannot run here; empty where they can."""
    if importlib.util.find_spec("rclpy") is None:
        return "ROS 2 (rclpy) is not installed or not sourced"
    if importlib.util.find_spec("dytrack_ros.nodes") is None:
        return "dytrack_ros was installed by pip, without its ROS nodes"
    return ""


if __name__ == "__main__":
    sys.exit(main())
