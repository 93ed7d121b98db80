"""Small helpers that every package uses."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path


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
