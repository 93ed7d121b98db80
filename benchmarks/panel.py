#!/usr/bin/env python3
"""Measure CPU time of dytrack_panel and the tracker's latency, with and without a viewer.

    tools/ros_env benchmarks/panel.py          # about 3 minutes; writes results/panel.json, prints a table

A camera of 1280x720 at 30 Hz, tracker_node with its defaults and dytrack_panel are processes on one machine. The viewer
is a WebSocket client (benchmarks/panel_clients.py) that takes images as a page does: a browser usually runs elsewhere.
The phases take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # as in node.py

from node_graph import Graph, MachineUse  # noqa: E402
from panel_clients import Viewer  # noqa: E402

from dytrack_ros.benchmark.machine import machine_facts  # noqa: E402
from dytrack_ros.evaluation.report import rounded  # noqa: E402
from dytrack_ros.model.weight_files import default_model  # noqa: E402

RESULTS = HERE / "results" / "panel.json"
PHASES = {"no page": None, "page in the background": 0, "page that looks": 960}
# A page may cost this part of one core.
TARGET = 0.10


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=15.0, help="length of a phase (default: %(default)g)")
    p.add_argument("--settling", type=float, default=3.0, help="time before each, not counted (default: %(default)g)")
    p.add_argument("--rounds", type=int, default=3, help="how often each phase comes (default: %(default)s)")
    p.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    p.add_argument("--rate", type=float, default=30.0, help="images a second of the camera (default: %(default)g)")
    p.add_argument("--model", default=default_model(), help="as tracker_node's parameter (default: %(default)s)")
    p.add_argument("--engine", default="auto", help="as tracker_node's parameter (default: %(default)s)")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, with that of the system on its behalf."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(args: argparse.Namespace) -> list[dict]:
    cores, rates = defaultdict(list), defaultdict(list)
    latencies, exits = defaultdict(list), defaultdict(list)
    with Graph() as graph:
        graph.start_tracker("tracker_node", model=args.model, engine=args.engine)
        panel = graph.start("dytrack_panel", port=0)
        graph.wait(lambda: "ready: open" in panel.output, "panel that is ready")
        url = panel.output.split("open ")[1].split()[0]
        width, height = args.size
        graph.start("camera", width=width, height=height, rate_hz=args.rate, init_every=0)
        graph.wait(lambda: any(status.exit_index for status in graph.statuses), "target that is followed")
        for _ in range(args.rounds):
            for phase, looks_at in PHASES.items():
                viewer = None if looks_at is None else Viewer(url, looks_at)
                try:
                    graph.listen(args.settling)
                    graph.statuses.clear()
                    pictures, used_s, started_s = (
                        viewer and viewer.picture_count,
                        cpu_seconds(panel.pid),
                        time.monotonic(),
                    )
                    graph.listen(args.seconds)
                    seconds = time.monotonic() - started_s
                    cores[phase].append((cpu_seconds(panel.pid) - used_s) / seconds)
                    rates[phase].append((viewer.picture_count - pictures) / seconds if viewer else 0.0)
                    latencies[phase] += [status.latency_ms for status in graph.statuses]
                    exits[phase] += [status.exit_index for status in graph.statuses if status.exit_index]
                finally:
                    if viewer:
                        viewer.close()
    return [
        {
            "phase": phase,
            "panel_cores": float(np.mean(cores[phase])),
            "panel_cores_each": cores[phase],
            "pictures_a_second": float(np.mean(rates[phase])),
            "tracker_latency_ms": {f"p{q}": float(np.percentile(latencies[phase], q)) for q in (50, 95)},
            "tracker_mean_exit": float(np.mean(exits[phase])) if exits[phase] else 0.0,
            "frames": len(latencies[phase]),
        }
        for phase in PHASES
    ]


def table(phases: list[dict]) -> str:
    rows = [
        f"| {p['phase']} | {p['panel_cores']:.1%} | {p['pictures_a_second']:.1f} | "
        f"{p['tracker_latency_ms']['p50']:.0f} | {p['tracker_latency_ms']['p95']:.0f} | {p['tracker_mean_exit']:.2f} |"
        for p in phases
    ]
    head = (
        "| | CPU of dytrack_panel, of one core | pictures a second | tracker's latency, median ms | 95 % | mean exit |"
    )
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def main() -> None:
    args = parser().parse_args()
    machine, use = machine_facts(), MachineUse()
    phases = measure(args)
    settings = {"size": args.size, "rate_hz": args.rate, "model": args.model}
    results = {"machine": machine, "use": use.facts(), **settings, "phases": phases}
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(rounded(results)) + "\n")
    print(table(phases))
    looking = phases[-1]["panel_cores"]
    verdict = "met" if looking <= TARGET else "missed"
    print(f"\nOne page that looks costs {looking:.1%} of a core; the target of {TARGET:.0%} is {verdict}.")


if __name__ == "__main__":
    main()
