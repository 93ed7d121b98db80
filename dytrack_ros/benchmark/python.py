"""A process of another Python, with packages of its own, that this package's modules are lent to."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from multiprocessing.connection import Connection
from pathlib import Path

import dytrack_ros

# Behind what that Python has installed itself, so that its own OpenCV and NumPy come first.
_START = """
import sys
from multiprocessing.connection import Connection
sys.path.append(sys.argv[1])
connection = Connection(int(sys.argv[2]))
try:
    from dytrack_ros.benchmark.worker import serve
    make_bench, arguments = connection.recv()
except ImportError as error:
    connection.send((False, f"{error}; it needs opencv-contrib-python-headless, numpy and safetensors"))
else:
    serve(connection, make_bench, arguments)
"""


class OtherPython:
    """Runs :func:`~dytrack_ros.benchmark.worker.serve` on ``connection`` in the interpreter ``python``, with what
    is sent there first. To be used like a ``multiprocessing.Process``. Raises FileNotFoundError for no program."""

    def __init__(self, python: str, connection: Connection):
        program = shutil.which(python)
        if program is None:
            raise FileNotFoundError(f"{python} is no Python that can be run: give the path of an interpreter")
        modules, handle = Path(dytrack_ros.__file__).parents[1], connection.fileno()
        # -I: what PYTHONPATH names is meant for this Python, not for that one.
        self._process = subprocess.Popen([program, "-I", "-c", _START, str(modules), str(handle)], pass_fds=[handle])

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def join(self, timeout: float | None = None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def terminate(self) -> None:
        self._process.terminate()
