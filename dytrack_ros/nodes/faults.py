"""Kinds of recoverable faults, counted and logged at a throttled rate."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

UNREADABLE_IMAGE = "unreadable image"
ODD_STAMP = "odd stamp"
TIME_JUMP = "time jump"
INIT_REFUSED = "init refused"
TRACKING_FAILED = "tracking failed"
ENGINE_FAILED = "engine failed"
NO_IMAGE = "no image"
INCOMPATIBLE_QOS = "incompatible QoS"
BAD_DETECTION = "bad detection"
BAD_POINT = "bad point"
BAD_CAMERA_INFO = "bad camera info"
UNREADABLE_DEPTH = "unreadable depth image"
NO_PICTURE_SIZE = "picture size unknown"
BAD_PAGE_MESSAGE = "bad page message"
PAGE_REFUSED = "page refused"
DRAWING_FAILED = "drawing failed"
LOW_CONTRAST = "low contrast"

# Kinds that need help from outside are logged as errors, all others as warnings.
ERRORS = frozenset({TRACKING_FAILED, INCOMPATIBLE_QOS})

# Least time between two log lines of a kind: with the same sentence, and with another one.
REPETITION_S = 10.0
VARIATION_S = 1.0


class Faults:
    """Counts every fault; logs the first of each kind at once, later ones at a throttled rate. Thread-safe."""

    def __init__(
        self,
        log_warning: Callable[[str], object],
        log_error: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log_warning = log_warning
        self._log_error = log_error
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._logged: dict[str, tuple[float, str, int]] = {}  # by kind: time, sentence and count

    @property
    def counts(self) -> Counter[str]:
        """Return the number of faults of each kind."""
        with self._lock:
            return self._counts.copy()

    def report(self, kind: str, sentence: str) -> None:
        """Count one fault; `sentence` says what came, what is allowed and how to mend it.

        The log line begins with the kind.
        """
        with self._lock:
            self._counts[kind] += 1
            count, now = self._counts[kind], self._clock()
            logged_s, logged_sentence, logged_count = self._logged.get(kind, (float("-inf"), "", 0))
            if now - logged_s < (REPETITION_S if sentence == logged_sentence else VARIATION_S):
                return
            self._logged[kind] = now, sentence, count
        unlogged = count - logged_count - 1
        line = sentence if sentence.startswith(kind) else f"{kind}: {sentence}"
        line += f" (and {unlogged} more of this kind)" if unlogged else ""
        if kind in ERRORS:
            self._log_error(line)
        else:
            self._log_warning(line)
