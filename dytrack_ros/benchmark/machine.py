"""Facts of this machine, for reports of measurements."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import cv2

from dytrack_ros.version import __version__

# Instruction sets that decide the speed of matrix products (x86-64, then 64-bit ARM), by their names in Linux.
CPU_FLAGS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve",
)  # fmt: skip
LIBRARIES = ("numpy", "torch", "openvino", "onnxruntime", "tensorrt")


def machine_facts() -> dict:
    """Return CPU, operating system, load and library versions, ready for JSON; None if unknown."""
    cpu = _cpu_info()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {"dytrack_ros": __version__, "opencv": cv2.__version__}
        | {name: _version(name) for name in LIBRARIES},
    }


def _cpu_info(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the first processor's entries of /proc/cpuinfo; empty without that file."""
    if not path.is_file():
        return {}
    first = path.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


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
