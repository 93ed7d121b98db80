"""Starts programs of this package as processes, as `ros2 run` does, for the demo and the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_prefix, get_package_share_directory

PACKAGE = "dytrack_ros"
# Both names: Humble and Jazzy know only the first.
FAST_DDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
# Domains up to 101 keep clear of the ports that Linux hands out to others.
_FIRST_DOMAIN, _DOMAINS = 20, 80
_STOP_PATIENCE_S = 10.0


def prepare_environment() -> None:
    """Set a ROS domain and the Fast DDS profile for large images for this process and its children, unless set.

    Call it before `rclpy.init`.
    """
    os.environ.setdefault("ROS_DOMAIN_ID", str(_FIRST_DOMAIN + os.getpid() % _DOMAINS))
    if not any(variable in os.environ for variable in FAST_DDS_VARIABLES):
        profile = Path(get_package_share_directory(PACKAGE)) / "config" / "fastdds_large_images.xml"
        os.environ.update(dict.fromkeys(FAST_DDS_VARIABLES, str(profile)))


class NodeProcess:
    """A running program; its output goes to a file."""

    def __init__(self, name: str, parameters: Mapping[str, Any], log: Path, namespace: str = "/") -> None:
        """`name` is one of this package's programs, or the absolute path of another; `parameters` are set as by
        `--ros-args -p`; the environment is the present one of this process.
        """
        program = Path(get_package_prefix(PACKAGE)) / "lib" / PACKAGE / name
        settings = [part for key, value in parameters.items() for part in ("-p", f"{key}:={json.dumps(value)}")]
        self.name = name
        self._log = log
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches only the parent, which then stops the program.
            self._process = subprocess.Popen(
                [str(program), "--ros-args", "-r", f"__ns:={namespace}", *settings],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """Its output so far."""
        return self._log.read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGINT, patience_s: float = _STOP_PATIENCE_S) -> int:
        """Send a signal, and SIGKILL if it has not ended after `patience_s`; return the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
