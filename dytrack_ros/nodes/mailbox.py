"""The newest frame, handed from the executor thread to the worker thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Frame:
    """One received image message.

    Attributes:
        sequence: 1, 2, 3 ... in the order of arrival.
        stamp_ns: the header's stamp in nanoseconds (0 where the camera sends none).
        received_s: arrival on the monotonic clock, seconds.
        message: the image message itself, still encoded.
    """

    sequence: int
    stamp_ns: int
    received_s: float
    message: Any

    @property
    def byte_count(self) -> int:
        return len(self.message.data)


class Mailbox:
    """Holds at most one frame: a newer one replaces it, so that the worker never lags behind."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._woken = False

    def put(self, frame: Frame) -> None:
        with self._changed:
            self._frame = frame
            self._changed.notify()

    def wake(self) -> None:
        """Let `take` return now, also without a frame: there is something else to do (an init, the end)."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def clear(self) -> None:
        """Forget the waiting frame."""
        with self._changed:
            self._frame = None

    def take(self, timeout_s: float) -> Frame | None:
        """Wait for a frame and take it; None when woken or when `timeout_s` has passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._woken, timeout_s)
            frame, self._frame, self._woken = self._frame, None, False
            return frame
