"""A ROS graph of real processes for benchmarks/node.py and panel.py, and how busy the machine was meanwhile."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import rclpy
from dytrack_ros.msg import TrackStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from dytrack_ros.nodes.demo.node_process import NodeProcess, prepare_environment
from dytrack_ros.nodes.messages import stamp_ns

HERE = Path(__file__).resolve().parent
PROGRAMS = ("camera", "receiver", "metered")  # of node_programs.py
PROGRAM_VARIABLE = "DYTRACK_BENCHMARK_PROGRAM"
PATIENCE_S = 120.0


class Heard(NamedTuple):
    """A received status; `heard_s` is its monotonic time, `stages_ms` the sum of its `stage_ms`."""

    heard_s: float
    stamp_ns: int
    exit_index: int
    latency_ms: float
    image_age_ms: float
    stages_ms: float
    frames_dropped: int
    target_id: str


class Graph:
    """A DDS domain on this machine only, the processes in it, and a node of this process.

    Attributes:
        node: this process's node.
        statuses: all messages of `status`, oldest first.
    """

    def __init__(self) -> None:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        prepare_environment()
        self._folder = tempfile.TemporaryDirectory(prefix="dytrack_node_benchmark_")
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("node_benchmark", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._processes: list[NodeProcess] = []
        self.statuses: list[Heard] = []
        self.node.create_subscription(TrackStatus, "status", self._on_status, 100)

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *error) -> None:
        for process in self._processes:
            process.stop()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)
        self._folder.cleanup()

    def _on_status(self, status: TrackStatus) -> None:
        self.statuses.append(
            Heard(
                time.monotonic(),
                stamp_ns(status.header),
                status.exit_index,
                status.latency_ms,
                status.image_age_ms,
                sum(status.stage_ms),
                status.frames_dropped,
                status.target_id,
            )
        )

    def start(self, program: str, **parameters) -> NodeProcess:
        """Start a program of the package, or one of :data:`PROGRAMS`; `a__b=1` sets the parameter `a.b`."""
        parameters = {key.replace("__", "."): value for key, value in parameters.items()}
        log = Path(self._folder.name) / f"{len(self._processes)}.log"
        with environment(**{PROGRAM_VARIABLE: program}):
            name = str(HERE / "node_programs.py") if program in PROGRAMS else program
            self._processes.append(NodeProcess(name, parameters, log))
        return self._processes[-1]

    def start_tracker(self, program: str, **parameters) -> NodeProcess:
        """Start a tracker node and wait until it is ready."""
        process = self.start(program, **parameters)
        self.wait(lambda: "ready: waits for images" in process.output, "tracker that is ready")
        return process

    @contextmanager
    def watching(self, topic: str) -> Iterator[list[int]]:
        """Subscribe to a topic's images inside the context; the list has the stamps of those received."""
        stamps: list[int] = []
        subscription = self.node.create_subscription(
            Image, topic, lambda image: stamps.append(stamp_ns(image.header)), qos_profile_sensor_data
        )
        try:
            yield stamps
        finally:
            self.node.destroy_subscription(subscription)

    def listen(self, seconds: float) -> None:
        """Spin for so long."""
        ending_s = time.monotonic() + seconds
        while (left_s := ending_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, 0.05))

    def wait(self, condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        """Spin until `condition()` holds. Raises RuntimeError with all logs after `patience_s`."""
        ending_s = time.monotonic() + patience_s
        while not condition():
            ended = [process for process in self._processes if process.exit_code]
            if time.monotonic() > ending_s or ended:
                said = "\n".join(
                    f"--- {process.name} ({process.exit_code}):\n{process.output}" for process in self._processes
                )
                raise RuntimeError(f"no {what} within {patience_s:.0f} s, or a process failed:\n{said}")
            self._executor.spin_once(timeout_sec=0.01)

    def last_json(self, process: NodeProcess) -> dict:
        """Stop a process and return the last line of JSON that it printed."""
        process.stop()
        return json.loads([line for line in process.output.splitlines() if line.startswith("{")][-1])

    def run_to_end(self, process: NodeProcess, patience_s: float) -> dict:
        """Spin until the process has ended, and return its last line of JSON."""
        self.wait(lambda: process.exit_code is not None, f"end of {Path(process.name).name}", patience_s)
        return self.last_json(process)


@contextmanager
def environment(**variables: str | None):
    """Set environment variables (None: unset) inside the context."""
    before = dict(os.environ)
    try:
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def resident_mb(process_id: int) -> dict[str, float]:
    """Return a process's resident memory in MB (10^6 bytes): all, its own, and shared (with Fast DDS's segments)."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    names = {"all": "VmRSS", "own": "RssAnon", "shared": "RssShmem"}
    return {name: int(fields[field].split()[0]) * 1024 / 1e6 for name, field in names.items()}


def cpu_seconds(process_id: int) -> float:
    """Return the CPU seconds that a process has used, in user and kernel mode, over all of its threads."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class MachineUse:
    """CPU use of other processes between two moments: all but this process and its ended children."""

    def __init__(self) -> None:
        self._started = time.monotonic(), *self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Return CPU seconds since boot: all in use, ours, and stolen by a hypervisor."""
        ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        user, nice, system, _, _, interrupts, soft_interrupts, stolen = ticks
        hz = os.sysconf("SC_CLK_TCK")
        ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return (
            (user + nice + system + interrupts + soft_interrupts) / hz,
            sum(usage.ru_utime + usage.ru_stime for usage in ours),
            stolen / hz,
        )

    def facts(self) -> dict:
        """Return the mean numbers of CPU cores used by others (and the kernel), by the benchmark, and stolen."""
        started_s, *before = self._started
        seconds = time.monotonic() - started_s
        used, ours, stolen = (now - then for now, then in zip(self._now(), before, strict=True))
        return {
            "seconds": round(seconds, 1),
            "busy_cores_of_others": round(max(used - ours, 0) / seconds, 2),
            "busy_cores_of_the_benchmark": round(ours / seconds, 2),
            "stolen_cores": round(stolen / seconds, 2),
        }
