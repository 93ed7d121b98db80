"""Processes to measure in, one for each engine and peer, so that none shares memory or threads with another.

A process works only when asked, and the parent asks one at a time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import dytrack_ros
from dytrack_ros.benchmark.machine import peak_memory_mb

STOP_TIMEOUT_S = 5.0

# Appended to sys.path: the packages installed in that interpreter take precedence.
_SERVE = """
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
    """Runs :func:`serve` on ``connection`` in the interpreter ``python``; has the methods of multiprocessing.Process.

    The interpreter has its own packages and imports this package's modules from here. Raises FileNotFoundError if it
    does not exist.
    """

    def __init__(self, python: str, connection: Connection):
        program = shutil.which(python)
        if program is None:
            raise FileNotFoundError(f"no program {python}: give the path of a Python interpreter")
        modules, handle = Path(dytrack_ros.__file__).parents[1], connection.fileno()
        # -I: PYTHONPATH is meant for this interpreter, not for that one.
        self._process = subprocess.Popen([program, "-I", "-c", _SERVE, str(modules), str(handle)], pass_fds=[handle])

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def join(self, timeout: float | None = None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def terminate(self) -> None:
        self._process.terminate()


class Ready(NamedTuple):
    """A process's first message: its bench's facts, and its memory in MB before the bench was made."""

    facts: dict
    memory_before_mb: float | None


class Worker:
    """A process with one bench in it, started with the interpreter ``python`` if one is given.

    ``ready_s`` is the time from the start of the process until it can take the first frame. Raises RuntimeError with
    the reason if the bench cannot be made, FileNotFoundError without such an interpreter.
    """

    def __init__(self, label: str, make_bench: Callable, *arguments, python: str | None = None):
        self.label = label
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        started = time.perf_counter()
        if python is None:
            process = context.Process(target=serve, args=(theirs, make_bench, arguments), daemon=True)
            process.start()
            self._process: BaseProcess | OtherPython = process
        else:
            self._process = OtherPython(python, theirs)
        theirs.close()
        try:
            if python is not None:
                self._send((make_bench, arguments))
            self.facts, self.memory_before_mb = self._receive()
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - started

    def ask(self, measurement: str, *arguments):
        """Return the result of the bench's method of that name. Raises RuntimeError if it fails."""
        self._send((measurement, arguments))
        return self._receive()

    def peak_memory_mb(self) -> float | None:
        return self.ask("peak_memory_mb")

    def stop(self) -> None:
        self._connection.close()  # the process ends after its present request
        self._process.join(STOP_TIMEOUT_S)
        self._process.terminate()
        self._process.join()

    def _send(self, request: tuple) -> None:
        with contextlib.suppress(OSError):  # the process has ended: _receive reports it
            self._connection.send(request)

    def _receive(self):
        try:
            is_answer, value = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RuntimeError(f"{self.label}: its process has ended (exit code {self._process.exitcode})") from None
        if not is_answer:
            raise RuntimeError(f"{self.label}: {value}")
        return value


def serve(connection: Connection, make_bench: Callable, arguments: tuple) -> None:
    """Answer each request on ``connection`` with (True, answer) or (False, error message), until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends this one
    memory_before_mb = peak_memory_mb()
    try:
        bench = make_bench(*arguments)
        connection.send((True, Ready(bench.facts(), memory_before_mb)))
    except Exception as error:
        connection.send((False, _message(error)))
        return
    while True:
        try:
            measurement, its_arguments = connection.recv()
        except EOFError:
            return
        try:
            is_own = measurement == "peak_memory_mb"
            connection.send((True, peak_memory_mb() if is_own else getattr(bench, measurement)(*its_arguments)))
        except Exception as error:
            connection.send((False, _message(error)))


def _message(error: Exception) -> str:
    text = str(error)
    return (
        text if isinstance(error, ValueError | ImportError | FileNotFoundError) else f"{type(error).__name__}: {text}"
    )
