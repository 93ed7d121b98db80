"""The newest of something, such as a frame, handed from one thread to another."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


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


class Mailbox(Generic[T]):
    """Holds at most one item: a newer one replaces it, so that whoever takes them never lags behind."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._woken = False

    def put(self, item: T) -> None:
        with self._changed:
            self._item = item
            self._changed.notify()

    def wake(self) -> None:
        """Let `take` return now, also without a frame: there is something else to do (an init, the end)."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def clear(self) -> None:
        """Forget the waiting item."""
        with self._changed:
            self._item = None

    def take(self, timeout_s: float) -> T | None:
        """Wait for an item and take it; None when woken or when `timeout_s` has passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._woken, timeout_s)
            item, self._item, self._woken = self._item, None, False
            return item
