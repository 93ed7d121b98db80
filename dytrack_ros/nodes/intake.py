"""Where image messages arrive: numbers them, sorts out those from the past, and passes the rest on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dytrack_ros.nodes.faults import ODD_STAMP
from dytrack_ros.nodes.frame_ring import FrameRing
from dytrack_ros.nodes.mailbox import Frame, Mailbox

# A stamp that is older than the one before by more than this is none that the network has only delayed.
TIME_JUMP_NS = 1_000_000_000


class Intake:
    """Runs in the executor thread and does next to nothing there: decoding and tracking are the worker's.

    A stamp that does not follow the one before, being older or more than a second newer, may be an error of its sender or
    the truth. Alone it sets no time: the older image is skipped (a bag's first one is kept for an init), the newer one is
    taken. Two in a row on the same side are believed, and if that takes time back by more than a second, it has jumped
    (a bag that loops, a clock that was set). So whatever was stamped before, of images with good stamps at most the
    first is not taken, and one wrong stamp costs no target.

    Attributes:
        received: how many images arrived.
        late: how many of them were skipped because they came up to a second too late.
        last_received_s: arrival of the last image on the monotonic clock (of the intake's creation before the first).
    """

    def __init__(
        self,
        ring: FrameRing,
        mailbox: Mailbox,
        on_time_jump: Callable[[float], None],
        report: Callable[[str, str], None],
    ) -> None:
        """
        Args:
            on_time_jump: called with the seconds that time went back, after the older frames are forgotten.
            report: takes the kind of a fault and a sentence about it.
        """
        self._ring = ring
        self._mailbox = mailbox
        self._on_time_jump = on_time_jump
        self._report = report
        self._time_ns = 0  # the newest stamp that is believed
        self._odd: Frame | None = None  # the image before, if its stamp did not follow
        self.received = 0
        self.late = 0
        self.last_received_s = time.monotonic()

    def receive(self, message: Any, stamp_ns: int) -> None:
        """Take in one image message (`data` is all that is looked at) with its header's stamp."""
        self.received += 1
        self.last_received_s = time.monotonic()
        frame = Frame(self.received, stamp_ns, self.last_received_s, message)
        odd, self._odd = self._odd, None
        ahead_ns = stamp_ns - self._time_ns
        if 0 <= ahead_ns <= TIME_JUMP_NS:
            self._reject(odd)
        elif odd is None or (odd.stamp_ns > self._time_ns) != (ahead_ns > 0):
            self._reject(odd)
            self._odd = frame
            if ahead_ns > 0:
                self._pass_on(frame)
            else:
                self._ring.is_in_doubt = True
            return
        elif ahead_ns < -TIME_JUMP_NS:
            self._ring.clear()
            self._mailbox.clear()
            self._on_time_jump(-ahead_ns * 1e-9)
            self._ring.append(odd)  # an init may have been drawn on it
        elif ahead_ns < 0:
            self.late += 1
        self._time_ns = stamp_ns
        self._pass_on(frame)

    def _pass_on(self, frame: Frame) -> None:
        self._ring.append(frame)
        self._mailbox.put(frame)

    def _reject(self, odd: Frame | None) -> None:
        if odd is None:
            return
        ahead_ns = odd.stamp_ns - self._time_ns
        if -TIME_JUMP_NS <= ahead_ns < 0:
            self.late += 1
            return
        place, fate = ("after", "not believed") if ahead_ns > 0 else ("before", "not believed, and the image skipped")
        self._report(
            ODD_STAMP,
            f"{odd.stamp_ns * 1e-9:.3f} s, {abs(ahead_ns) * 1e-9:.1f} s {place} the other images, was {fate}; "
            "the camera driver must stamp every image with the time at which it was taken",
        )
