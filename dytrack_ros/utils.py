"""Small helpers that every package uses."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

# Instruction sets that decide the speed of matrix products (x86-64, then 64-bit ARM), by their names in Linux.
CPU_FLAGS = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve",
)  # fmt: skip


def file_sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def provide_home() -> Path | None:
    """Give a user without a home folder a temporary one: set HOME, and return the folder; None if there is a home.

    ROS writes its log there, OpenVINO cannot be imported without, and the cache is kept there. A user id without an
    entry in /etc/passwd, as in containers, has no home or ``/``. Raises OSError.
    """
    with contextlib.suppress(RuntimeError):
        home = Path.home()
        if home != Path("/") or os.access(home, os.W_OK):
            os.environ.setdefault("HOME", str(home))  # ROS does not ask /etc/passwd
            return None
    folder = Path(tempfile.gettempdir()) / f"dytrack_ros-home-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # another user made it
        folder = Path(tempfile.mkdtemp(prefix="dytrack_ros-home-"))
    os.environ["HOME"] = str(folder)
    return folder


def one_line(error: BaseException) -> str:
    """Return an error's type and message on one line, for logs and diagnostics."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def cpu_facts() -> dict[str, Any]:
    """Return the processor's name, its cores, the usable ones and its instruction sets, ready for JSON.

    ``instruction_limit`` is the limit that the environment sets to OpenVINO's instruction sets, None without one.
    """
    cpu = _cpu_info()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in flags],
        "instruction_limit": os.environ.get("ONEDNN_MAX_CPU_ISA"),
    }


def _cpu_info(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the first processor's entries of /proc/cpuinfo; empty without that file."""
    if not path.is_file():
        return {}
    first = path.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
