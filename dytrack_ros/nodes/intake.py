"""Where image messages arrive: numbers them, sorts out those from the past, and passes the rest on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dytrack_ros.nodes.frame_ring import FrameRing
from dytrack_ros.nodes.mailbox import Frame, Mailbox

# A stamp that is older than the last one by more than this means that time went back (a bag that loops);
# by less, that the network swapped two frames.
TIME_JUMP_NS = 1_000_000_000


class Intake:
    """Runs in the executor thread and does next to nothing there: decoding and tracking are the worker's.

    Attributes:
        received: how many images arrived.
        late: how many of them were older than the one before and therefore skipped.
        last_received_s: arrival of the last image on the monotonic clock (of the intake's creation before the first).
    """

    def __init__(self, ring: FrameRing, mailbox: Mailbox, on_time_jump: Callable[[float], None]) -> None:
        """`on_time_jump` is called with the seconds that time went back, after the older frames are forgotten."""
        self._ring = ring
        self._mailbox = mailbox
        self._on_time_jump = on_time_jump
        self._newest_stamp_ns = 0
        self.received = 0
        self.late = 0
        self.last_received_s = time.monotonic()

    def receive(self, message: Any, stamp_ns: int) -> None:
        """Take in one image message (`data` is all that is looked at) with its header's stamp."""
        self.received += 1
        self.last_received_s = time.monotonic()
        behind_ns = self._newest_stamp_ns - stamp_ns
        if 0 < behind_ns <= TIME_JUMP_NS:
            self.late += 1
            return
        self._newest_stamp_ns = stamp_ns
        if behind_ns > TIME_JUMP_NS:
            self._ring.clear()
            self._mailbox.clear()
            self._on_time_jump(behind_ns * 1e-9)
        frame = Frame(self.received, stamp_ns, self.last_received_s, message)
        self._ring.append(frame)
        self._mailbox.put(frame)
