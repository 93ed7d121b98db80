"""The last frames, kept so that an init drawn on an earlier frame can start there."""

from __future__ import annotations

import threading
from collections import deque

from dytrack_ros.nodes.mailbox import Frame

# Stamps that went through a float of seconds or through milliseconds still find their frame.
STAMP_TOLERANCE_NS = 1_000_000


class FrameRing:
    """The newest frames, bounded by age and by memory; the newest one always stays. Safe to use from any thread.

    `is_in_doubt` may be set when a frame has come that may or may not be the newest; the next one appended ends it.
    """

    def __init__(self, seconds: float = 2.0, mebibytes: float = 64.0) -> None:
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()
        self._byte_count = 0
        self.is_in_doubt = False
        self.set_limits(seconds, mebibytes)

    def set_limits(self, seconds: float, mebibytes: float) -> None:
        """Keep frames that arrived at most `seconds` before the newest one, and at most so many MiB of them."""
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
        """Forget one frame, as far as it is kept."""
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
        """The frame of this stamp (to within 1 ms), or None."""
        with self._lock:
            closest = min(self._frames, key=lambda frame: abs(frame.stamp_ns - stamp_ns), default=None)
        if closest is None or abs(closest.stamp_ns - stamp_ns) > STAMP_TOLERANCE_NS:
            return None
        return closest

    def after(self, frame: Frame) -> list[Frame]:
        """The kept frames that arrived after `frame`, oldest first."""
        with self._lock:
            return [other for other in self._frames if other.sequence > frame.sequence]

    def span(self) -> str:
        """The kept frames in words, for logs: how many, from which stamp to which."""
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
