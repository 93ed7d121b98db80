"""A ROS graph of real processes on this machine, and a node of this process: for the benchmarks and the tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor

from dytrack_ros.nodes.demo.node_process import NodeProcess, prepare_environment

# Slow machines are allowed for, hanging ones are not; a very busy machine may need more.
PATIENCE_S = float(os.environ.get("DYTRACK_PATIENCE_S", 60))


class Graph:
    """The processes on one ROS domain, and a node that hears and talks to them.

    Attributes:
        client: the node of this process.
        processes: the programs that were started; `close` stops them.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` takes the logs of the processes."""
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        prepare_environment()
        self._folder = folder
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.client = rclpy.create_node("client", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.client)
        self.processes: list[NodeProcess] = []

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        for process in self.processes:
            process.stop()
        self._executor.shutdown()
        self.client.destroy_node()
        rclpy.shutdown(context=self._context)

    def start(self, name: str, namespace: str = "/", **parameters: Any) -> NodeProcess:
        """Start a program of the package, or of an absolute path; `a__b=1` sets the parameter `a.b`."""
        parameters = {key.replace("__", "."): value for key, value in parameters.items()}
        log = self._folder / f"{Path(name).stem}_{len(self.processes)}.log"
        self.processes.append(NodeProcess(name, parameters, log, namespace))
        return self.processes[-1]

    def wait_until(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
        """Let messages come in until `condition()` holds; its value is returned. Raises TimeoutError with all logs."""
        deadline_s = time.monotonic() + patience_s
        while not (result := condition()):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no {what} within {patience_s:g} s; {self.what_the_processes_say()}")
            self._executor.spin_once(timeout_sec=0.02)
        return result

    def hear_for(self, seconds: float) -> None:
        """Let messages come in for so long."""
        ending_s = time.monotonic() + seconds
        while (left_s := ending_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, 0.05))

    def what_the_processes_say(self) -> str:
        return "\n".join(f"{process.name} ({process.exit_code}):\n{process.output}" for process in self.processes)
