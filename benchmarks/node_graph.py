"""A graph of real processes for benchmarks/node.py: what runs in it, what it says, and what else the machine did."""

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
PATIENCE_S = 120.0


class Heard(NamedTuple):
    """What a status said, and when it came (monotonic seconds). `stages_ms` is the sum of its `stage_ms`."""

    heard_s: float
    stamp_ns: int
    exit_index: int
    latency_ms: float
    image_age_ms: float
    stages_ms: float
    frames_dropped: int
    target_id: str


class Graph:
    """A DDS domain of its own on this machine alone, the processes on it, and a node of this process.

    Attributes:
        node: this process's.
        statuses: all that was heard on `status`, oldest first.
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
        """A program of the package, or (its file's name) of this folder; `a__b=1` sets the parameter `a.b`."""
        parameters = {key.replace("__", "."): value for key, value in parameters.items()}
        name = str(HERE / program) if program.endswith(".py") else program
        log = Path(self._folder.name) / f"{len(self._processes)}.log"
        self._processes.append(NodeProcess(name, parameters, log))
        return self._processes[-1]

    def start_tracker(self, program: str, **parameters) -> NodeProcess:
        """The same, and wait until it is ready."""
        process = self.start(program, **parameters)
        self.wait(lambda: "ready: waits for images" in process.output, "tracker that is ready")
        return process

    @contextmanager
    def watching(self, topic: str) -> Iterator[list[int]]:
        """Subscribe to the images of a topic for a while; the list holds the stamps of those that have come."""
        stamps: list[int] = []
        subscription = self.node.create_subscription(
            Image, topic, lambda image: stamps.append(stamp_ns(image.header)), qos_profile_sensor_data
        )
        try:
            yield stamps
        finally:
            self.node.destroy_subscription(subscription)

    def listen(self, seconds: float) -> None:
        """Take in what comes for so long."""
        ending_s = time.monotonic() + seconds
        while (left_s := ending_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, 0.05))

    def wait(self, condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        """Take in what comes until `condition()` holds. Raises RuntimeError with all logs if it never does."""
        ending_s = time.monotonic() + patience_s
        while not condition():
            ended = [process for process in self._processes if process.exit_code]
            if time.monotonic() > ending_s or ended:
                said = "\n".join(
                    f"--- {process.name} ({process.exit_code}):\n{process.output}" for process in self._processes
                )
                raise RuntimeError(f"no {what} within {patience_s:.0f} s, or a process failed:\n{said}")
            self._executor.spin_once(timeout_sec=0.01)

    def last_words(self, process: NodeProcess) -> dict:
        """Stop a process; the last JSON object that it wrote, on a line of its own."""
        process.stop()
        return json.loads([line for line in process.output.splitlines() if line.startswith("{")][-1])

    def run_to_end(self, process: NodeProcess, patience_s: float) -> dict:
        """Take in what comes until the process has ended; its last words."""
        self.wait(lambda: process.exit_code is not None, f"end of {Path(process.name).name}", patience_s)
        return self.last_words(process)


@contextmanager
def environment(**variables: str | None):
    """The process's environment with these variables (None: without them) for a while."""
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
    """Resident memory of a process in MB (10^6 bytes): all of it, its own, and shared (with Fast DDS's segments)."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    names = {"all": "VmRSS", "own": "RssAnon", "shared": "RssShmem"}
    return {name: int(fields[field].split()[0]) * 1024 / 1e6 for name, field in names.items()}


class MachineUse:
    """What the machine did between two moments beside this process and the children that it has waited for."""

    def __init__(self) -> None:
        self._started = time.monotonic(), *self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """CPU seconds since the start: all that were used, ours of them, and those that a hypervisor took."""
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
        """Mean numbers of CPU cores that others kept busy (kernel threads included), that were stolen, and that the
        benchmark used."""
        started_s, *before = self._started
        seconds = time.monotonic() - started_s
        used, ours, stolen = (now - then for now, then in zip(self._now(), before, strict=True))
        return {
            "seconds": round(seconds, 1),
            "busy_cores_of_others": round(max(used - ours, 0) / seconds, 2),
            "busy_cores_of_the_benchmark": round(ours / seconds, 2),
            "stolen_cores": round(stolen / seconds, 2),
        }
