"""Buffers between the node's threads: newest-item mailbox, worker thread, ring of recent frames."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

# A stamp that was converted to float seconds or to milliseconds still finds its frame.
STAMP_TOLERANCE_NS = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Frame:
    """One received image message.

    Attributes:
        sequence: 1, 2, 3 ... in the order of arrival.
        stamp_ns: header stamp in nanoseconds (0 if the camera does not stamp its images).
        received_s: arrival on the monotonic clock, seconds.
        message: the image message, still encoded.
    """

    sequence: int
    stamp_ns: int
    received_s: float
    message: Any

    @property
    def byte_count(self) -> int:
        return len(self.message.data)


class Mailbox(Generic[T]):
    """Hands the newest item from one thread to another; a newer item replaces one that was not taken yet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._woken = False

    def put(self, item: T) -> None:
        with self._changed:
            self._item = item
            self._changed.notify()

    def wake(self) -> None:
        """Make the current or next `take` return at once, even without an item."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def clear(self) -> None:
        """Drop the waiting item."""
        with self._changed:
            self._item = None

    def take(self, timeout_s: float) -> T | None:
        """Wait for an item and take it; return None after `wake` or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._woken, timeout_s)
            item, self._item, self._woken = self._item, None, False
            return item


class Worker(threading.Thread, Generic[T]):
    """Calls `work` with each item of a mailbox, and with None after IDLE_S without one.

    An exception in `work` is passed to `on_error`; the thread goes on until `end` is called.
    """

    IDLE_S = 0.5

    def __init__(
        self,
        name: str,
        mailbox: Mailbox[T],
        work: Callable[[T | None], None],
        on_error: Callable[[Exception], None],
        niceness: int = 0,
    ) -> None:
        """`niceness` (0 to 19) is added to this thread's; a higher one yields the CPU to other threads."""
        super().__init__(name=name, daemon=True)
        self._mailbox = mailbox
        self._work = work
        self._on_error = on_error
        self._niceness = niceness
        self._ending = threading.Event()

    def run(self) -> None:
        if self._niceness:
            # Linux keeps a niceness for each thread. The process may have been started with one already.
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(own + self._niceness, 19))
        while not self._ending.is_set():
            item = self._mailbox.take(self.IDLE_S)
            if self._ending.is_set():
                return
            try:
                self._work(item)
            except Exception as error:
                if not self._ending.is_set():  # while ending, publishers may be gone already
                    self._on_error(error)

    def end(self, timeout_s: float) -> None:
        """Finish the current item and end; wait for that no longer than `timeout_s`."""
        self._ending.set()
        self._mailbox.wake()
        self.join(timeout_s)


class FrameRing:
    """Keeps the newest frames, limited by age and memory, so that an init can start on an earlier one.

    The newest frame is always kept. All methods are thread-safe.

    Attributes:
        seconds: greatest age of a kept frame, relative to the newest.
        is_in_doubt: the last image may belong to the time before or after a jump; `append` clears the flag.
    """

    def __init__(self, seconds: float = 2.0, mebibytes: float = 64.0) -> None:
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()
        self._byte_count = 0
        self.is_in_doubt = False
        self.set_limits(seconds, mebibytes)

    def set_limits(self, seconds: float, mebibytes: float) -> None:
        """Keep frames that arrived up to `seconds` before the newest one, and at most `mebibytes` of them."""
        with self._lock:
            self.seconds = seconds
            self._byte_limit = mebibytes * 2**20
            self._trim()

    def append(self, frame: Frame) -> None:
        with self._lock:
            self.is_in_doubt = False
            self._frames.append(frame)
            self._byte_count += frame.byte_count
            self._trim()

    def discard(self, frame: Frame) -> None:
        """Drop one frame if it is kept."""
        with self._lock:
            if frame in self._frames:
                self._frames.remove(frame)
                self._byte_count -= frame.byte_count

    def clear(self) -> None:
        with self._lock:
            self.is_in_doubt = False
            self._frames.clear()
            self._byte_count = 0

    def newest(self) -> Frame | None:
        with self._lock:
            return self._frames[-1] if self._frames else None

    def find(self, stamp_ns: int) -> Frame | None:
        """Return the frame with this stamp (to within 1 ms), or None."""
        with self._lock:
            closest = min(self._frames, key=lambda frame: abs(frame.stamp_ns - stamp_ns), default=None)
        if closest is None or abs(closest.stamp_ns - stamp_ns) > STAMP_TOLERANCE_NS:
            return None
        return closest

    def after(self, frame: Frame) -> list[Frame]:
        """Return the kept frames that arrived after `frame`, oldest first."""
        with self._lock:
            return [other for other in self._frames if other.sequence > frame.sequence]

    def span(self) -> str:
        """Describe the kept frames for a log line: count, first and last stamp, memory."""
        with self._lock:
            if not self._frames:
                return "no frames are kept yet"
            oldest, newest = self._frames[0].stamp_ns, self._frames[-1].stamp_ns
            return (
                f"{len(self._frames)} frames are kept, stamped {oldest * 1e-9:.3f} to {newest * 1e-9:.3f} s "
                f"({(newest - oldest) * 1e-9:.2f} s, {self._byte_count / 2**20:.1f} MiB)"
            )

    def _trim(self) -> None:
        while len(self._frames) > 1 and (
            self._byte_count > self._byte_limit
            or self._frames[-1].received_s - self._frames[0].received_s > self.seconds
        ):
            self._byte_count -= self._frames.popleft().byte_count
