"""Follows one target through the frames: init on any kept frame, catch-up, tracking, stop. Independent of ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dytrack_ros.data.value_range import Range, ValueRange
from dytrack_ros.nodes.faults import INIT_REFUSED, LOW_CONTRAST, TRACKING_FAILED, UNREADABLE_IMAGE
from dytrack_ros.nodes.frame_buffers import Frame, FrameRing
from dytrack_ros.nodes.images import MessageImage, UnreadableImageError
from dytrack_ros.tracking import DyTracker, TrackResult, TrackState
from dytrack_ros.tracking.box import Box
from dytrack_ros.utils import one_line

# How long an init waits for the image that it names; the two topics have no common order.
INIT_PATIENCE_S = 3.0
# Catching up advances by at least this many seconds of video a second of work, so that it ends.
CATCH_UP_SPEED = 2.0
# Every message about a target carries its id.
MAX_NAME_LENGTH = 256


@dataclass(frozen=True)
class Init:
    """A request to follow the object in `box` (x, y, w, h in pixels) on the image stamped `stamp_ns` (0: the newest).

    With an empty `target_id` the target is named `target-N`. `received_s` is on the monotonic clock. `header` is that
    of the message and is only handed back.
    """

    box: Box
    stamp_ns: int
    target_id: str
    received_s: float
    header: Any = None


@dataclass(frozen=True)
class InitAnswer:
    """The answer to an init: accepted on the image stamped `stamp_ns`, or refused with a `reason`."""

    init: Init
    target_id: str
    reason: str = ""
    stamp_ns: int = 0

    @property
    def accepted(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Outcome:
    """Result of one frame.

    Attributes:
        frame, image: the frame and its image, not decoded before its pixels are read.
        state: IDLE without a target; all attributes below then keep their defaults.
        box: x, y, w, h in pixels of the full image.
        score: predicted IoU in [0, 1]; 1 for a box that was given by init.
        result: the tracker's result; None for a box that was given by init.
        started_s: start of the work on this frame, on the monotonic clock.
    """

    frame: Frame
    image: MessageImage
    state: TrackState = TrackState.IDLE
    target_id: str = ""
    box: Box | None = None
    score: float = 0.0
    result: TrackResult | None = None
    started_s: float = 0.0


class Follower:
    """One target and the tracker that follows it.

    `step` is called by the worker thread only. All other methods are thread-safe and take effect between two frames:
    after `stop` returns, no box of the stopped target is published.

    An init is answered with an outcome for the newest frame. If the init names an earlier frame, the kept frames from
    there on are tracked as fast as possible and not published.
    """

    def __init__(
        self,
        tracker: DyTracker,
        ring: FrameRing,
        open_image: Callable[[Any, ValueRange], MessageImage],
        publish: Callable[[Outcome, int], None],
        report: Callable[[str, str], None],
        reply: Callable[[InitAnswer], None] = lambda answer: None,
        prepare: Callable[[DyTracker], None] = lambda tracker: None,
    ) -> None:
        """
        Args:
            open_image: makes the view of an image message, given the range of values to map to 8 bits; raises
                UnreadableImageError.
            publish: takes every outcome and the number of frames dropped so far; called in the worker thread.
            report: takes the kind of a fault and a sentence about it.
            reply: takes the answer to every init; called in the worker thread, or in that of `request` and `stop`.
            prepare: may change the tracker's settings; called in the worker thread before each frame.
        """
        self._tracker = tracker
        self._ring = ring
        self._open_image = open_image
        self._publish = publish
        self._report = report
        self._reply = reply
        self._prepare = prepare
        self._lock = threading.Lock()
        self._epoch = 0  # number of stops; a change during the work on a frame voids its result
        self._value_range = ValueRange(report=lambda sentence: report(LOW_CONTRAST, sentence))
        self._init: Init | None = None
        self._target_id = ""
        self._target_count = 0
        self._last_sequence = 0
        self._published = 0

    @property
    def target_id(self) -> str:
        """The target being followed; empty when idle."""
        return self._target_id

    def set_fixed_range(self, fixed: Range | None) -> None:
        """Map this range of values to 8 bits; None: the range found in the image of the init."""
        self._value_range.fixed = fixed

    def request(self, init: Init) -> None:
        """Start a new target in the next step; the present one is kept if the init is refused."""
        self._replace_init(init, "a newer init has come before the image of this one")

    def stop(self) -> str:
        """Forget the target and the waiting init; return the target's id, empty if there was none."""
        self._replace_init(None, "the tracker was told to stop before the image of this init came")
        return self.forget_target()

    def forget_target(self) -> str:
        """Forget the target but keep a waiting init; return the target's id, empty if there was none."""
        with self._lock:
            forgotten, self._target_id = self._target_id, ""
            self._epoch += 1
            return forgotten

    def _replace_init(self, init: Init | None, reason: str) -> None:
        with self._lock:
            replaced, self._init = self._init, init
        if replaced is not None:
            self._reply(InitAnswer(replaced, replaced.target_id, reason))

    def step(self, frame: Frame | None) -> Outcome | None:
        """Handle a waiting init, otherwise `frame` if there is one; return what was published."""
        with self._lock:
            epoch = self._epoch
        outcome = self._start_requested(epoch)
        if outcome is None and frame is not None and frame.sequence > self._last_sequence:
            outcome = self._follow(frame)
        return outcome and self._deliver(outcome, epoch)

    def _deliver(self, outcome: Outcome, epoch: int) -> Outcome:
        with self._lock:
            if epoch != self._epoch:
                outcome = Outcome(outcome.frame, outcome.image)
            if outcome.frame.sequence > self._last_sequence:
                self._last_sequence = outcome.frame.sequence
                self._published += 1
            self._publish(outcome, self._last_sequence - self._published)
        return outcome

    def _start_requested(self, epoch: int) -> Outcome | None:
        init = self._init
        if init is None:
            return None
        found, reason = self._image_for(init)
        if found is None and not reason:
            return None
        with self._lock:
            if init is not self._init:  # stopped or replaced meanwhile
                return None
            self._init = None
        if found is None:
            self._refuse(init, reason)
            return None
        return self._start(init, *found, epoch)

    def _image_for(self, init: Init) -> tuple[tuple[Frame, MessageImage] | None, str]:
        """Return the frame and image that an init names, or the reason why there is none; neither while it may come."""
        while (frame := self._frame_of(init)) is not None:
            try:
                image = self._open_image(frame.message, self._value_range.renewed())
                image.load()
                return (frame, image), ""
            except UnreadableImageError as error:
                self._ring.discard(frame)
                if init.stamp_ns:
                    return None, str(error)
                self._report(UNREADABLE_IMAGE, str(error))  # the next older image will do, or else the next to come
        if self._may_still_come(init):
            return None, ""
        return None, (
            f"no image stamped {init.stamp_ns * 1e-9:.3f} s is kept: {self._ring.span()}; "
            "send init sooner, or raise catch_up.seconds and catch_up.mebibytes"
        )

    def _frame_of(self, init: Init) -> Frame | None:
        if self._ring.is_in_doubt:  # a looping bag repeats its stamps
            return None
        if init.stamp_ns:
            return self._ring.find(init.stamp_ns)
        newest = self._ring.newest()
        # The last image of a camera that stopped long ago is not the newest one that the sender of the init saw.
        return newest if newest and init.received_s - newest.received_s <= self._ring.seconds else None

    def _may_still_come(self, init: Init) -> bool:
        if init.stamp_ns == 0:
            return True
        newest = self._ring.newest()
        is_to_come = newest is None or init.stamp_ns > newest.stamp_ns or self._ring.is_in_doubt
        return is_to_come and time.monotonic() - init.received_s < INIT_PATIENCE_S

    def _start(self, init: Init, frame: Frame, image: MessageImage, epoch: int) -> Outcome | None:
        if len(init.target_id) > MAX_NAME_LENGTH:
            self._refuse(
                init,
                f"id has {len(init.target_id)} characters, at most {MAX_NAME_LENGTH} are allowed; send a shorter one",
            )
            return None
        try:
            self._prepare(self._tracker)
            try:
                self._tracker.initialize(image, init.box)
            except ValueError as error:
                self._refuse(init, str(error))
                return None
        except Exception as error:  # engines raise exceptions of many kinds
            self._refuse(init, one_line(error))
            return self._failed(frame, image, error)
        with self._lock:
            is_stopped = epoch != self._epoch
            if not is_stopped:
                self._target_count += 1
                self._value_range = image.value_range
                self._target_id = init.target_id or f"target-{self._target_count}"
        if is_stopped:
            self._reply(InitAnswer(init, init.target_id, "the tracker was told to stop while this init was handled"))
            return None
        self._reply(InitAnswer(init, self._target_id, stamp_ns=frame.stamp_ns))
        return self._catch_up(Outcome(frame, image, TrackState.TRACKING, self._target_id, init.box, 1.0), epoch)

    def _refuse(self, init: Init, reason: str) -> None:
        self._report(INIT_REFUSED, reason)
        self._reply(InitAnswer(init, init.target_id, reason))

    def _catch_up(self, outcome: Outcome, epoch: int) -> Outcome:
        """Track from the outcome's frame to the newest one; skip frames if tracking is slower than the camera."""
        position, skip_s = outcome.frame, 0.0
        while (later := self._ring.after(position)) and epoch == self._epoch:
            position = next((frame for frame in later if frame.received_s >= position.received_s + skip_s), later[-1])
            started_s = time.monotonic()
            outcome = self._follow(position) or outcome
            skip_s = CATCH_UP_SPEED * (time.monotonic() - started_s)
            if position is later[-1]:
                break
        return outcome

    def _follow(self, frame: Frame) -> Outcome | None:
        self._prepare(self._tracker)
        started_s = time.monotonic()
        target_id = self._target_id
        try:
            image = self._open_image(frame.message, self._value_range)
            if target_id:
                image.load()
        except UnreadableImageError as error:
            self._report(UNREADABLE_IMAGE, str(error))
            self._ring.discard(frame)
            return None
        if not target_id:
            return Outcome(frame, image)
        try:
            result = self._tracker.track(image)
        except Exception as error:  # engines raise exceptions of many kinds
            return self._failed(frame, image, error)
        return Outcome(frame, image, result.state, target_id, result.box, result.score, result, started_s)

    def _failed(self, frame: Frame, image: MessageImage, error: Exception) -> Outcome:
        self._report(TRACKING_FAILED, f"{one_line(error)}; the target is given up, send init again")
        with self._lock:
            self._target_id = ""
        return Outcome(frame, image)
