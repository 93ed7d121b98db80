#!/usr/bin/env python3
"""Measure tracker_node on real processes and real DDS: overhead, delivery, start-up, memory over time.

    benchmarks/node.py overhead     # latency of the node apart from its engine
    benchmarks/node.py delivery     # images that arrive, with and without the Fast DDS profile
    benchmarks/node.py startup      # seconds from the start of the process to the first tracked image
    benchmarks/node.py cpu --sequences FOLDER ...   # CPU time at the default thresholds and at full depth
    benchmarks/node.py soak         # memory, latency and age over 30 minutes of tracking and setting parameters

Runs in the environment of the built package: ``tools/ros_env benchmarks/node.py ...`` or a sourced workspace. Results
are printed and merged into one JSON file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # tools/ros_env sets PYTHONSAFEPATH

from dytrack_ros.msg import TrackStatus  # noqa: E402
from node_graph import Graph  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from tqdm import tqdm  # noqa: E402
from vision_msgs.msg import Detection2D  # noqa: E402

from dytrack_ros.benchmark.machine import machine_facts  # noqa: E402
from dytrack_ros.data.registry import load_dataset  # noqa: E402
from dytrack_ros.model.weight_files import default_model  # noqa: E402
from dytrack_ros.nodes.demo.node_process import FAST_DDS_VARIABLES  # noqa: E402
from dytrack_ros.nodes.messages import box_of, detection_message  # noqa: E402

RESULTS = HERE / "results" / "node.json"
SETTLING_FRAMES = 10  # left out after an init
WINDOWS = 180  # of the soak's series: ten seconds each in half an hour
PARAMETER_HZ, WAVE_S = 20.0, 5.0  # soak: calls a second, and until a parameter has gone up and down again
INIT_S = 10.0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("part", choices=PARTS)
    p.add_argument("--model", default=default_model(), help="shipped name or path of weights (default: %(default)s)")
    p.add_argument("--engine", default="auto")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument(
        "--sizes", nargs="+", default=["1280x720", "1920x1080"], help="WIDTHxHEIGHT; delivery and soak: the first"
    )
    p.add_argument("--rate", type=float, help="images a second; overhead and startup 15, cpu 10, delivery and soak 30")
    p.add_argument("--sequences", type=Path, nargs="+", default=[], help="cpu: folders of sequences with ground truth")
    p.add_argument("--unlimited", action="store_true", help="cpu: without a budget, for a machine that is too busy")
    p.add_argument(
        "--frames", type=int, default=200, help="overhead, delivery: images of each kind; cpu: of each sequence"
    )
    p.add_argument("--rounds", type=int, default=3, help="startup: repetitions")
    p.add_argument("--minutes", type=float, default=30.0, help="soak")
    p.add_argument("--warm-up", type=float, default=2.0, help="soak: the first minutes, left out of the spread")
    p.add_argument("--results", type=Path, default=RESULTS)
    return p


class TrackerGraph(Graph):
    """A graph whose tracker's statuses are kept, each with the time at which it was heard."""

    def __init__(self, folder: str, args: argparse.Namespace) -> None:
        super().__init__(Path(folder))
        self._tracker = {"model": args.model, "engine": args.engine, "threads": args.threads}
        self.statuses: list[tuple[float, TrackStatus]] = []
        self.client.create_subscription(
            TrackStatus, "status", lambda status: self.statuses.append((time.monotonic(), status)), 100
        )

    def start_tracker(self, program: str, **parameters: Any):
        tracker = self.start(program, **self._tracker, **parameters)
        self.wait_until(lambda: "ready: waits for images" in tracker.output, "tracker that is ready", 120)
        return tracker

    def start_camera(self, size: str, **parameters: Any):
        width, height = map(int, size.split("x"))
        camera = {"synthetic__width": width, "synthetic__height": height, "publish_init": True}
        return self.start("camera_node", **camera, start_when_subscribed=1, **parameters)

    @property
    def tracked(self) -> list[tuple[float, TrackStatus]]:
        return [(heard_s, status) for heard_s, status in self.statuses if status.exit_index]


def quantiles(values: list[float]) -> dict[str, float]:
    return {"p50": float(np.quantile(values, 0.5)), "p95": float(np.quantile(values, 0.95))}


def overhead(args: argparse.Namespace, graph: TrackerGraph) -> dict:
    """Measure a tracker whose engine is metered, at exit 1."""
    rate, runs = args.rate or 15.0, []
    graph.start_tracker(str(HERE / "metered_tracker.py"), exit__policy="fixed", exit__fixed=1)
    for size in tqdm(args.sizes, unit="size"):
        graph.statuses.clear()
        camera = graph.start_camera(size, rate_hz=rate, frames=args.frames + SETTLING_FRAMES)
        graph.wait_until(lambda: camera.exit_code is not None, "end of the camera", 60 + 3 * args.frames / rate)  # noqa: B023
        found = [(s.latency_ms, sum(s.stage_ms), s.image_age_ms) for _, s in graph.tracked[SETTLING_FRAMES:]]
        if not found:
            raise SystemExit(f"no {size} image was tracked; was the profile for large images in force?")
        run = {"size": size, "frames": len(found), "engine_ms": quantiles([engine for _, engine, _ in found])}
        run["overhead_ms"] = quantiles([latency - engine for latency, engine, _ in found])
        runs.append(run | {"arrival_ms": quantiles([age - latency for latency, _, age in found])})
    return {"rate_hz": rate, "runs": runs}


def delivery(args: argparse.Namespace, graph: TrackerGraph) -> dict:
    """Count the images that reach the tracker, with the shipped profile and with Fast DDS's defaults."""
    rate, runs = args.rate or 30.0, []
    for profile in ("shipped", "none"):
        if profile == "none":
            for name in FAST_DDS_VARIABLES:
                os.environ.pop(name, None)
        graph.statuses.clear()
        tracker = graph.start_tracker("tracker_node")
        camera = graph.start_camera(args.sizes[0], rate_hz=rate, frames=args.frames)
        graph.wait_until(lambda: camera.exit_code is not None, "end of the camera", 60 + 3 * args.frames / rate)  # noqa: B023
        graph.hear_for(1.0)
        dropped = graph.statuses[-1][1].frames_dropped if graph.statuses else 0
        runs.append({"profile": profile, "sent": args.frames, "received": len(graph.statuses) + dropped})
        tracker.stop()
    return {"size": args.sizes[0], "rate_hz": rate, "runs": runs}


def startup(args: argparse.Namespace, graph: TrackerGraph) -> dict:
    """Time from the start of the process to the first tracked image, with an empty cache and with a filled one."""
    runs = []
    for _ in tqdm(range(args.rounds), unit="round"):
        with tempfile.TemporaryDirectory(prefix="dytrack_cache_") as cache:
            os.environ["XDG_CACHE_HOME"] = cache
            for kind in ("cold", "warm"):
                graph.hear_for(0.2)  # what the tracker before has still said
                graph.statuses.clear()
                camera = graph.start_camera("640x480", rate_hz=args.rate or 15.0, loop=True)
                started_s = time.monotonic()
                tracker = graph.start_tracker("tracker_node")
                ready_s = time.monotonic() - started_s
                graph.wait_until(lambda: graph.tracked, "tracked image")
                tracked_s = graph.tracked[0][0] - started_s
                runs.append({"cache": kind, "ready_s": ready_s, "first_tracked_s": tracked_s})
                tracker.stop()
                camera.stop()
    return {"runs": runs}


CPU_SETTINGS: dict[str, dict] = {"default": {}, "full depth": {"exit__tau_1": 1.0, "exit__tau_2": 1.0}}


def cpu(args: argparse.Namespace, graph: TrackerGraph) -> dict:
    """CPU time of the node while a camera plays sequences, by the default settings and with all time used."""
    rate = args.rate or 10.0
    sequences = [sequence for folder in args.sequences for sequence in load_dataset(folder).sequences]
    if not sequences:
        raise SystemExit("--sequences is needed: folders of sequences, NAME/groundtruth.txt and NAME/img/*")
    runs = []
    for name, settings in CPU_SETTINGS.items():
        seconds, exits = 0.0, Counter()
        mode = {"budget__mode": "unlimited"} if args.unlimited else {}
        tracker = graph.start_tracker("tracker_node", **settings, **mode)
        for sequence in tqdm(sequences, unit="sequence", desc=name):
            graph.hear_for(0.2)
            graph.statuses.clear()
            before_s = cpu_seconds(tracker.pid)
            camera = graph.start(
                "camera_node",
                source=str(Path(sequence.frames[0]).parent),
                rate_hz=rate,
                frames=min(args.frames, len(sequence)),
                publish_init=True,
                init_box=[float(value) for value in sequence.start_box],
                start_when_subscribed=1,
            )
            wait_s = 60 + 3 * len(sequence) / rate
            graph.wait_until(lambda: camera.exit_code is not None, "end of the camera", wait_s)  # noqa: B023
            seconds += cpu_seconds(tracker.pid) - before_s
            exits.update(status.exit_index for _, status in graph.tracked)
        dropped = graph.statuses[-1][1].frames_dropped
        tracker.stop()
        frames = exits.total()
        run = {"settings": name, "frames": frames, "dropped": dropped, "exits": dict(sorted(exits.items()))}
        run |= {"cpu_ms_per_frame": 1e3 * seconds / frames, "cpu_s_per_minute": 60 * rate * seconds / frames}
        runs.append(run)
    return {"rate_hz": rate, "unlimited": args.unlimited, "runs": runs}


def cpu_seconds(process_id: int) -> float:
    """Return the CPU seconds that a process has used, in user and kernel mode, over all of its threads."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- soak -------------------------------------------------------------------------------------------------------------


def soak(args: argparse.Namespace, graph: TrackerGraph) -> dict:
    """Track for a long time, with an init every ten seconds and a parameter call every 50 ms."""
    rate, seconds = args.rate or 30.0, 60 * args.minutes
    tracker = graph.start_tracker("tracker_node")
    graph.start_camera(args.sizes[0], rate_hz=rate, loop=True)
    graph.wait_until(lambda: graph.tracked, "tracked image")
    inits = Inits(graph, rate, min(INIT_S, seconds / 4))
    setter = ParameterSetter(graph)
    graph.statuses.clear()
    memory: list[tuple[float, dict[str, float]]] = []
    started_s = time.monotonic()
    with tqdm(total=round(seconds), unit="s") as bar:
        while (at_s := time.monotonic() - started_s) < seconds:
            memory.append((at_s, resident_mb(tracker.pid)))
            graph.hear_for(min(1.0, seconds - at_s))
            if tracker.exit_code is not None:
                raise SystemExit(f"the node ended after {at_s:.0f} s:\n{tracker.output}")
            bar.update(round(time.monotonic() - started_s) - bar.n)
    series = windows(memory, [(heard_s - started_s, status) for heard_s, status in graph.statuses], seconds)
    resident = [
        mb for at, mb in zip(series["seconds"], series["resident_all_mb"], strict=True) if at > 60 * args.warm_up
    ]
    return {
        "size": args.sizes[0],
        "rate_hz": rate,
        "minutes": args.minutes,
        "warm_up_minutes": args.warm_up,
        "inits": inits.count,
        "targets": len({status.target_id for _, status in graph.statuses} - {""}),
        "frames": len(graph.statuses),
        "parameters": setter.finish(),
        "warnings": [line for line in tracker.output.splitlines() if "[WARN]" in line or "[ERROR]" in line][:10],
        "resident_mb": float(np.median(resident)),
        "resident_spread": float(np.ptp(resident) / np.median(resident)),
        "series": series,
    }


class Inits:
    """Sends the true box of the newest image and of one half a second older, in turn."""

    def __init__(self, graph: Graph, rate: float, period_s: float) -> None:
        self.count = 0
        self._recent: deque[Detection2D] = deque(maxlen=1 + round(0.5 * rate))
        self._publisher = graph.client.create_publisher(Detection2D, "init", 1)
        graph.client.create_subscription(Detection2D, "truth", lambda truth: self._recent.append(truth), 10)
        graph.client.create_timer(period_s, self._send)

    def _send(self) -> None:
        if self._recent:
            truth = self._recent[-1 if self.count % 2 else 0]
            self._publisher.publish(detection_message(truth.header, box_of(truth)))
            self.count += 1


class ParameterSetter:
    """Sets one parameter of the node PARAMETER_HZ times a second, as a slider does; one call a second must be
    refused."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._client = graph.client.create_client(SetParameters, "tracker_node/set_parameters")
        graph.wait_until(self._client.service_is_ready, "parameter service")
        self._answers_ms: list[float] = []
        self._sent = self._wrong = 0
        self._timer = graph.client.create_timer(1 / PARAMETER_HZ, self._set_next)

    def _set_next(self) -> None:
        wave = 0.5 + 0.5 * math.sin(2 * math.pi * self._sent / (WAVE_S * PARAMETER_HZ))
        is_allowed = self._sent % PARAMETER_HZ != PARAMETER_HZ - 1
        changes = (("exit.tau_1", wave), ("exit.tau_2", 1 - wave), ("lost.score", 0.1 + 0.1 * wave))
        name, value = changes[self._sent % len(changes)] if is_allowed else ("exit.tau_1", 1.5)
        self._sent += 1
        sent_s = time.monotonic()

        def answered(future) -> None:
            self._answers_ms.append(1e3 * (time.monotonic() - sent_s))
            self._wrong += future.result().results[0].successful != is_allowed

        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        self._client.call_async(request).add_done_callback(answered)

    def finish(self) -> dict:
        """Set no more, wait for the answers that are still to come, and return the figures."""
        self._graph.client.destroy_timer(self._timer)
        ending_s = time.monotonic() + 10
        while len(self._answers_ms) < self._sent and time.monotonic() < ending_s:
            self._graph.hear_for(0.05)
        unanswered = self._sent - len(self._answers_ms)
        calls = {"calls": self._sent, "unanswered": unanswered, "answered_wrongly": self._wrong}
        return calls | {"answer_ms": quantiles(self._answers_ms) | {"largest": max(self._answers_ms)}}


def resident_mb(process_id: int) -> dict[str, float]:
    """Return a process's resident memory in MB (10^6 bytes): all, its own, and shared (with Fast DDS's segments)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process_id}/status").read_text().splitlines())
    names = {"all": "VmRSS", "own": "RssAnon", "shared": "RssShmem"}
    return {name: int(fields[field].split()[0]) * 1024 / 1e6 for name, field in names.items()}


def windows(memory: list, statuses: list[tuple[float, TrackStatus]], seconds: float) -> dict[str, list[float]]:
    """Return medians and 95th percentiles over equal stretches of time, those left out in which nothing came."""
    length_s = max(seconds / WINDOWS, 1.0)
    series: dict[str, list[float]] = {}
    for start_s in np.arange(int(seconds / length_s)) * length_s:
        resident = [values for at_s, values in memory if start_s <= at_s < start_s + length_s]
        tracked = [s for at_s, s in statuses if start_s <= at_s < start_s + length_s and s.exit_index]
        if not resident or not tracked:
            continue
        row = {"seconds": start_s + length_s / 2}
        row |= {f"resident_{kind}_mb": float(np.median([v[kind] for v in resident])) for kind in resident[0]}
        for name, values in (
            ("latency", [s.latency_ms for s in tracked]),
            ("age", [s.image_age_ms for s in tracked]),
        ):
            row |= {f"{name}_{part}_ms": value for part, value in quantiles(values).items()}
        for name, value in row.items():
            series.setdefault(name, []).append(float(value))
    return series


PARTS = {"overhead": overhead, "delivery": delivery, "startup": startup, "cpu": cpu, "soak": soak}


def main() -> None:
    args = parser().parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    facts = {"machine": machine_facts(), "model": Path(args.model).stem, "engine": args.engine}
    with tempfile.TemporaryDirectory(prefix="dytrack_benchmark_") as folder, TrackerGraph(folder, args) as graph:
        measured = {"overhead": overhead, "delivery": delivery, "startup": startup, "cpu": cpu, "soak": soak}[
            args.part
        ](args, graph)
    results[args.part] = facts | measured
    print(json.dumps({name: value for name, value in results[args.part].items() if name != "series"}, indent=2))
    args.results.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
