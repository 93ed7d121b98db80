"""The options that the commands share which run a tracker over sequences."""

from __future__ import annotations

import argparse

from dytrack_ros.data.registry import AUTO, LAYOUTS
from dytrack_ros.data.sequences import VARIANTS
from dytrack_ros.engines import ENGINE_PRECISIONS, ENGINES
from dytrack_ros.tracking import TrackerConfig


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the sequences, how much of them, and the tracker."""
    p = argparse.ArgumentParser(
        prog=f"dytrack {name}", description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--data", required=True, help="folder of a dataset in its official layout, or of plain sequences: "
                   "NAME/groundtruth.txt and NAME/img/*")  # fmt: skip
    p.add_argument("--dataset", choices=(AUTO, *LAYOUTS), default=AUTO, help="which layout --data has; `auto` looks")
    p.add_argument("--variants", nargs="+", choices=VARIANTS, default=["standard"])
    p.add_argument("--frames", type=int, help="only this many first frames of each sequence")
    p.add_argument("--model", help="shipped name or path of weights; the package's default if not given")
    p.add_argument("--engine", choices=ENGINES, default="auto")
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", choices=ENGINE_PRECISIONS, default="auto",
                   help="auto: the fastest that the chip computes in; fp32: exact; int8: the graphs that `quantise` has made, "
                        "in openvino")  # fmt: skip
    p.add_argument("--threads", type=int)
    p.add_argument("--init-correction", type=float, default=TrackerConfig.init_correction,
                   help="how much of the difference between the first box and what the network finds there is corrected in "
                        "later ones; 0 is the paper's tracker")  # fmt: skip
    return p
