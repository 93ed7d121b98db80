"""Processes to measure in, one for each engine and peer, so that none shares memory or threads with another.

A process works only when asked, and the parent asks one at a time.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from dytrack_ros.benchmark.machine import peak_memory_mb
from dytrack_ros.utils import one_line


class Worker:
    """A process with one bench in it, made by ``make_bench(*arguments)``.

    ``device`` is the bench's, ``ready_s`` the time from the start of the process until it can take the first frame.
    Raises RuntimeError with the reason if the bench cannot be made.
    """

    def __init__(self, label: str, make_bench: Callable, *arguments):
        self.label = label
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        started = time.perf_counter()
        try:
            self.device = self._run(_make, make_bench, arguments)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - started

    def ask(self, measurement: str, *arguments) -> Any:
        """Return the result of the bench's method of that name. Raises RuntimeError if it fails."""
        return self._run(_measure, measurement, arguments)

    def peak_memory_mb(self) -> float | None:
        return self._run(peak_memory_mb)

    def stop(self) -> None:
        """End the process after its present request."""
        self._pool.shutdown(cancel_futures=True)

    def _run(self, function: Callable, *arguments) -> Any:
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise RuntimeError(f"{self.label}: its process has ended") from None
        except (ValueError, ImportError, FileNotFoundError) as error:
            raise RuntimeError(f"{self.label}: {error}") from None
        except Exception as error:
            raise RuntimeError(f"{self.label}: {one_line(error)}") from None


_bench: Any = None  # of this process


def _make(make_bench: Callable, arguments: tuple) -> str:
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends this one
    _bench = make_bench(*arguments)
    return _bench.device


def _measure(measurement: str, arguments: tuple) -> Any:
    return getattr(_bench, measurement)(*arguments)
