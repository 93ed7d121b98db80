"""Follows one target through the frames: init on any kept frame, catch-up, tracking, stop. Knows nothing of ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dytrack_ros.nodes.faults import INIT_REFUSED, TRACKING_FAILED, UNREADABLE_IMAGE
from dytrack_ros.nodes.frame_ring import FrameRing
from dytrack_ros.nodes.images import UnreadableImage
from dytrack_ros.nodes.mailbox import Frame
from dytrack_ros.one_line import one_line
from dytrack_ros.tracking import DyTracker, TrackResult, TrackState
from dytrack_ros.tracking.box import Box
from dytrack_ros.tracking.image import ImageView

# How long an init waits for the image that it names: the two come on different topics, in any order.
INIT_PATIENCE_S = 3.0
# Catching up advances by at least this many seconds of video a second of work, so that it ends.
CATCH_UP_SPEED = 2.0
# Every message about a target carries its name.
MAX_NAME_LENGTH = 256


@dataclass(frozen=True)
class Init:
    """A request to follow what is in `box` (x, y, w, h in pixels) on the image stamped `stamp_ns` (0: the newest).

    `target_id` may be empty: then the target is named `target-N`. `received_s` is on the monotonic clock.
    """

    box: Box
    stamp_ns: int
    target_id: str
    received_s: float


@dataclass(frozen=True)
class Outcome:
    """What is known after one frame.

    Attributes:
        frame, image: the frame and its picture, in no colours until somebody asks for them.
        state: IDLE where there is no target; then everything below is empty.
        box: x, y, w, h in pixels of the full image.
        score: the predicted IoU in [0, 1]; 1 for a box that was given by init.
        result: the tracker's own account; None for a box that was given by init.
        started_s: when work on this frame began, on the monotonic clock.
    """

    frame: Frame
    image: ImageView
    state: TrackState = TrackState.IDLE
    target_id: str = ""
    box: Box | None = None
    score: float = 0.0
    result: TrackResult | None = None
    started_s: float = 0.0


class Follower:
    """One target and the tracker that follows it.

    `step` belongs to the worker thread, the other methods may be called from any thread and take effect between two
    frames. After `stop` returns no box of the stopped target is published, even if its frame was being worked on.

    An init is answered at once with an outcome for the newest frame: by the given box where that is the frame the
    init names, otherwise by tracking from there through the kept frames as fast as possible. The frames in between
    are not published: their time has passed.
    """

    def __init__(
        self,
        tracker: DyTracker,
        ring: FrameRing,
        decode: Callable[[Any], ImageView],
        publish: Callable[[Outcome, int], None],
        report: Callable[[str, str], None],
        prepare: Callable[[DyTracker], None] = lambda tracker: None,
    ) -> None:
        """
        Args:
            decode: image message to its picture; raises UnreadableImage.
            publish: takes every outcome and the number of frames dropped so far; called in the worker thread.
            report: takes the kind of a fault and a sentence about it.
            prepare: may change the tracker's settings; called in the worker thread before each frame is worked on.
        """
        self._tracker = tracker
        self._ring = ring
        self._decode = decode
        self._publish = publish
        self._report = report
        self._prepare = prepare
        self._lock = threading.Lock()
        self._epoch = 0  # counts the stops, so that a frame under work can tell that there was one
        self._init: Init | None = None
        self._target_id = ""
        self._target_count = 0
        self._last_sequence = 0
        self._published = 0

    @property
    def target_id(self) -> str:
        """The target being followed; empty when idle."""
        return self._target_id

    def request(self, init: Init) -> None:
        """Follow another target from the next step on; a refused init leaves the present target alone."""
        with self._lock:
            self._init = init

    def stop(self) -> str:
        """Forget the target and any waiting init; returns the target's id, empty if there was none."""
        with self._lock:
            self._init = None
            return self._forget()

    def forget_target(self) -> None:
        """Forget the target only: time has jumped, and a waiting init may be meant for what comes now."""
        with self._lock:
            self._forget()

    def _forget(self) -> str:
        forgotten, self._target_id = self._target_id, ""
        self._epoch += 1
        return forgotten

    def step(self, frame: Frame | None) -> Outcome | None:
        """Handle what was requested, then `frame` if there is one; returns what was published."""
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
        frame = self._frame_of(init)
        if frame is None and self._may_still_come(init):
            return None
        with self._lock:
            if init is not self._init:  # stopped or replaced meanwhile; a newer one has its turn in the next step
                return None
            self._init = None
        if frame is None:
            self._report(
                INIT_REFUSED,
                f"no image stamped {init.stamp_ns * 1e-9:.3f} s is kept: {self._ring.span()}; "
                "send init sooner, or raise catch_up.seconds and catch_up.mebibytes",
            )
            return None
        return self._start(init, frame, epoch)

    def _frame_of(self, init: Init) -> Frame | None:
        if self._ring.is_in_doubt:  # in a bag that loops, the same stamp may be kept from the time before
            return None
        if init.stamp_ns:
            return self._ring.find(init.stamp_ns)
        newest = self._ring.newest()
        # What a camera sent that has stopped since is not what somebody who asks for the newest frame sees.
        return newest if newest and init.received_s - newest.received_s <= self._ring.seconds else None

    def _may_still_come(self, init: Init) -> bool:
        if init.stamp_ns == 0:
            return True
        newest = self._ring.newest()
        is_to_come = newest is None or init.stamp_ns > newest.stamp_ns or self._ring.is_in_doubt
        return is_to_come and time.monotonic() - init.received_s < INIT_PATIENCE_S

    def _start(self, init: Init, frame: Frame, epoch: int) -> Outcome | None:
        if len(init.target_id) > MAX_NAME_LENGTH:
            self._report(
                INIT_REFUSED,
                f"id has {len(init.target_id)} characters, at most {MAX_NAME_LENGTH} are allowed; send a shorter one",
            )
            return None
        try:
            image = self._decode(frame.message)
        except UnreadableImage as error:
            self._ring.discard(frame)
            if init.stamp_ns == 0:  # then any image will do: the one before, or the next
                with self._lock:
                    self._init = self._init or init
                return self._start_requested(epoch)
            self._report(INIT_REFUSED, str(error))
            return None
        self._prepare(self._tracker)
        try:
            self._tracker.initialize(image, init.box)
        except ValueError as error:
            self._report(INIT_REFUSED, str(error))
            return None
        except Exception as error:  # an engine can fail in many ways; none of them may silence the node
            return self._failed(frame, image, error)
        with self._lock:
            if epoch != self._epoch:
                return None
            self._target_count += 1
            self._target_id = init.target_id or f"target-{self._target_count}"
        return self._catch_up(Outcome(frame, image, TrackState.TRACKING, self._target_id, init.box, 1.0), epoch)

    def _catch_up(self, outcome: Outcome, epoch: int) -> Outcome:
        """Track from the outcome's frame to the newest one, skipping frames where tracking is slower than the camera."""
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
        try:
            image = self._decode(frame.message)
        except UnreadableImage as error:
            self._report(UNREADABLE_IMAGE, str(error))
            self._ring.discard(frame)
            return None
        target_id = self._target_id
        if not target_id:
            return Outcome(frame, image)
        try:
            result = self._tracker.track(image)
        except Exception as error:  # as above
            return self._failed(frame, image, error)
        return Outcome(frame, image, result.state, target_id, result.box, result.score, result, started_s)

    def _failed(self, frame: Frame, image: ImageView, error: Exception) -> Outcome:
        self._report(TRACKING_FAILED, f"{one_line(error)}; the target is given up, send init again")
        with self._lock:
            self._target_id = ""
        return Outcome(frame, image)
