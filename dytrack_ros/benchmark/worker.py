"""Processes to measure in, one for each engine and peer, so that none shares memory or threads with another.

A process works only when asked, and the parent asks one at a time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from dytrack_ros.benchmark.machine import peak_memory_mb

STOP_TIMEOUT_S = 5.0


class Worker:
    """A process with one bench in it, made by ``make_bench(*arguments)``.

    ``device`` is the bench's, ``ready_s`` the time from the start of the process until it can take the first frame.
    Raises RuntimeError with the reason if the bench cannot be made.
    """

    def __init__(self, label: str, make_bench: Callable, *arguments):
        self.label = label
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        started = time.perf_counter()
        self._process = context.Process(target=_serve, args=(theirs, make_bench, arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self.device = self._receive()
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - started

    def ask(self, measurement: str, *arguments):
        """Return the result of the bench's method of that name. Raises RuntimeError if it fails."""
        with contextlib.suppress(OSError):  # the process has ended: _receive reports it
            self._connection.send((measurement, arguments))
        return self._receive()

    def peak_memory_mb(self) -> float | None:
        return self.ask("peak_memory_mb")

    def stop(self) -> None:
        self._connection.close()  # the process ends after its present request
        self._process.join(STOP_TIMEOUT_S)
        self._process.terminate()
        self._process.join()

    def _receive(self):
        try:
            is_answer, value = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RuntimeError(f"{self.label}: its process has ended (exit code {self._process.exitcode})") from None
        if not is_answer:
            raise RuntimeError(f"{self.label}: {value}")
        return value


def _serve(connection: Connection, make_bench: Callable, arguments: tuple) -> None:
    """Answer each request on ``connection`` with (True, answer) or (False, error message), until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends this one
    try:
        bench = make_bench(*arguments)
    except Exception as error:
        connection.send((False, _message(error)))
        return
    connection.send((True, bench.device))
    while True:
        try:
            measurement, its_arguments = connection.recv()
        except EOFError:
            return
        try:
            call = peak_memory_mb if measurement == "peak_memory_mb" else getattr(bench, measurement)
            connection.send((True, call(*its_arguments)))
        except Exception as error:
            connection.send((False, _message(error)))


def _message(error: Exception) -> str:
    is_plain = isinstance(error, ValueError | ImportError | FileNotFoundError)
    return str(error) if is_plain else f"{type(error).__name__}: {error}"
