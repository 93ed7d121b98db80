"""Facts of this machine, for reports of measurements."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import cv2

from dytrack_ros.utils import cpu_facts
from dytrack_ros.version import __version__

LIBRARIES = ("numpy", "torch", "openvino", "onnxruntime", "tensorrt")


def machine_facts() -> dict:
    """Return CPU, operating system, load and library versions, ready for JSON; None if unknown."""
    libraries: dict[str, str | None] = {"dytrack_ros": __version__, "opencv": cv2.__version__}
    libraries |= {name: _version(name) for name in LIBRARIES}
    return cpu_facts() | {
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": libraries,
    }


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def peak_memory_mb() -> float | None:
    """Return this process's peak resident memory in MB (10^6 bytes); None without /proc."""
    # Not getrusage: its maximum is inherited from the parent process.
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None
