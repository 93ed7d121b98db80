"""Mailbox, ring of frames, intake, wiring, worker and fault log."""

import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from std_msgs.msg import Header
from still_engine import StillEngine

from dytrack_ros import DyTracker, FixedExit
from dytrack_ros.nodes import faults as faults_module
from dytrack_ros.nodes.faults import ODD_STAMP, Faults
from dytrack_ros.nodes.frame_buffers import Frame, FrameRing, Mailbox, Worker
from dytrack_ros.nodes.intake import ImageSubscription, Intake
from dytrack_ros.nodes.messages import target_offset_message

MIB = 2**20


def frame(sequence, received_s=None, byte_count=1000):
    message = SimpleNamespace(data=bytes(byte_count))
    return Frame(sequence, sequence * 10**8, sequence * 0.1 if received_s is None else received_s, message)


# ---- mailbox


def test_mailbox_keeps_only_the_newest():
    mailbox = Mailbox()
    for sequence in (1, 2, 3):
        mailbox.put(frame(sequence))
    assert mailbox.take(0).sequence == 3
    assert mailbox.take(0) is None


def test_mailbox_wakes_without_a_frame():
    mailbox = Mailbox()
    threading.Timer(0.05, mailbox.wake).start()
    started_s = time.monotonic()
    assert mailbox.take(10) is None
    assert time.monotonic() - started_s < 5
    assert mailbox.take(0) is None


# ---- ring


def sequences(ring):
    return [kept.sequence for kept in ring.after(frame(0))]


def test_ring_is_bounded_in_time_and_memory():
    ring = FrameRing(seconds=1.0, mebibytes=64)
    for sequence in range(1, 31):
        ring.append(frame(sequence))
    assert sequences(ring) == list(range(20, 31))
    ring.set_limits(seconds=60, mebibytes=1)
    for sequence in range(31, 41):
        ring.append(frame(sequence, byte_count=MIB // 4))
    assert sequences(ring) == [37, 38, 39, 40]


def test_ring_always_keeps_the_newest():
    ring = FrameRing(seconds=0.0, mebibytes=1)
    ring.append(frame(1))
    ring.append(frame(2, byte_count=5 * MIB))
    assert sequences(ring) == [2]
    assert ring.newest().sequence == 2


def test_ring_finds_by_stamp_to_a_millisecond():
    ring = FrameRing()
    assert ring.find(0) is None
    for sequence in (1, 2, 3):
        ring.append(frame(sequence))
    assert ring.find(200_000_000).sequence == 2
    assert ring.find(200_900_000).sequence == 2
    assert ring.find(202_000_000) is None


def test_a_discarded_frame_is_not_found_and_takes_no_memory():
    ring = FrameRing(seconds=60, mebibytes=1)
    for sequence in range(1, 5):
        ring.append(frame(sequence, byte_count=MIB // 4))
    ring.discard(frame(2, byte_count=MIB // 4))
    ring.append(frame(5, byte_count=MIB // 4))
    assert sequences(ring) == [1, 3, 4, 5]
    ring.discard(frame(2, byte_count=MIB // 4))
    assert sequences(ring) == [1, 3, 4, 5]


def test_ring_says_what_it_holds():
    ring = FrameRing()
    assert ring.span() == "no frames are kept yet"
    ring.append(frame(12, byte_count=MIB))
    ring.append(frame(15, byte_count=MIB))
    assert ring.span() == "2 frames are kept, stamped 1.200 to 1.500 s (0.30 s, 2.0 MiB)"
    ring.clear()
    assert ring.newest() is None


# ---- intake


class IntakeBench:
    def __init__(self):
        self.ring, self.mailbox, self.jumps, self.reports = FrameRing(), Mailbox(), [], []
        self.intake = Intake(
            self.ring, self.mailbox, self.jumps.append, lambda kind, sentence: self.reports.append((kind, sentence))
        )

    def receive(self, *stamps_s):
        for stamp_s in stamps_s:
            self.intake.receive(SimpleNamespace(data=b""), round(stamp_s * 1e9))

    @property
    def kept_s(self):
        return [kept.stamp_ns * 1e-9 for kept in self.ring.after(frame(0))]


@pytest.fixture
def intake_bench():
    return IntakeBench()


def test_late_frames_are_counted_and_skipped(intake_bench):
    intake_bench.receive(10.0, 10.2, 10.1, 10.3)
    assert (intake_bench.intake.received, intake_bench.intake.late) == (4, 1)
    assert intake_bench.kept_s == pytest.approx([10.0, 10.2, 10.3])
    assert intake_bench.mailbox.take(0).sequence == 4


def test_time_that_goes_back_forgets_the_older_frames(intake_bench):
    intake_bench.receive(100.0, 101.0, 20.0)
    assert intake_bench.jumps == []
    assert intake_bench.ring.is_in_doubt
    intake_bench.receive(20.1)
    assert intake_bench.jumps == pytest.approx([80.9])
    assert intake_bench.kept_s == pytest.approx([20.0, 20.1]), "an init may be drawn on the first, too"
    assert not intake_bench.ring.is_in_doubt
    assert intake_bench.mailbox.take(0).sequence == 4
    intake_bench.receive(20.2)
    assert (intake_bench.intake.late, intake_bench.reports) == (0, [])


def test_one_stamp_from_long_ago_costs_its_own_image_only(intake_bench):
    intake_bench.receive(100.0, 100.1, 0, 100.2, 100.3)
    assert intake_bench.kept_s == pytest.approx([100.0, 100.1, 100.2, 100.3])
    assert (intake_bench.jumps, intake_bench.intake.late) == ([], 0)
    ((kind, sentence),) = intake_bench.reports
    assert kind == ODD_STAMP
    assert "0.000 s, 100.1 s before the other images, was not accepted, and the image skipped" in sentence


def test_one_stamp_from_the_future_costs_nothing(intake_bench):
    intake_bench.receive(100.0, 100.1, 2e9, 100.2, 100.3)
    assert intake_bench.kept_s == pytest.approx([100.0, 100.1, 2e9, 100.2, 100.3])
    assert (intake_bench.jumps, intake_bench.intake.late) == ([], 0)
    ((kind, sentence),) = intake_bench.reports
    assert kind == ODD_STAMP
    assert "2000000000.000 s, 1999999899.9 s after the other images, was not accepted;" in sentence


def test_one_stamp_a_little_ahead_costs_one_image(intake_bench):
    intake_bench.receive(100.0, 100.9, 100.1, 100.2, 100.3)
    assert intake_bench.kept_s == pytest.approx([100.0, 100.9, 100.2, 100.3])
    assert (intake_bench.jumps, intake_bench.intake.late) == ([], 1)


def test_a_pause_a_clock_that_is_set_and_a_slow_camera_are_no_faults(intake_bench):
    intake_bench.receive(100.0, 100.1, 500.0, 500.1, 502.0, 504.0, 506.0)
    assert intake_bench.kept_s == pytest.approx([100.0, 100.1, 500.0, 500.1, 502.0, 504.0, 506.0])
    assert (intake_bench.jumps, intake_bench.intake.late, intake_bench.reports) == ([], 0, [])


# ---- who publishes images


class Graph:
    """A node that knows of publishers: (topic, type, node name)."""

    def __init__(self, image, *publishers):
        self.image, self.publishers = image, publishers

    def resolve_topic_name(self, name):
        return self.image

    def create_subscription(self, message_type, topic, callback, qos, **options):
        return SimpleNamespace(topic_name=topic, qos_profile=qos)

    def get_publishers_info_by_topic(self, topic):
        return [SimpleNamespace(topic_type=kind, node_name=name) for at, kind, name in self.publishers if at == topic]


RAW, JPEG, OTHER = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/Header"


@pytest.mark.parametrize(
    ("transport", "image", "published", "advice"),
    [
        ("raw", "/image", ("/image", JPEG, "camera"), "image_transport:=compressed image:=/image"),
        ("raw", "/image", ("/image/compressed", JPEG, "camera"), "start with image_transport:=compressed"),
        ("raw", "/cam/compressed", ("/cam/compressed", JPEG, "camera"), "image_transport:=compressed image:=/cam"),
        (
            "compressed",
            "/image",
            ("/image", RAW, "camera"),
            "carries raw images: start with image_transport:=raw",
        ),
        ("compressed", "/cam/compressed", ("/cam/compressed", JPEG, "camera"), "start with image:=/cam,"),
        ("compressed", "/image", ("/image/compressed", RAW, "camera"), "image_transport:=raw image:=/image/compressed"),
        ("raw", "/image", ("/image", OTHER, "camera"), f"its type is {OTHER}, not {RAW}"),
        ("raw", "/image", ("/image", RAW, "_NODE_NAME_UNKNOWN_"), "as if another user runs it"),
        ("raw", "/image", ("/image", RAW, "camera"), ""),
        ("raw", "/image", ("/other", RAW, "camera"), ""),
    ],
)
def test_what_keeps_images_away_is_named_with_the_argument_that_mends_it(transport, image, published, advice):
    subscription = ImageSubscription(Graph(image, published), transport == "compressed", print)
    assert advice in subscription.wiring()
    assert bool(subscription.wiring()) == bool(advice)


# ---- worker


def test_worker_survives_errors_and_ends_in_time():
    mailbox, seen, errors = Mailbox(), [], []

    def work(taken):
        if taken is not None:
            seen.append(taken.sequence)
            if taken.sequence == 1:
                raise RuntimeError("no luck")

    worker = Worker("trial", mailbox, work, errors.append)
    worker.start()
    for sequence in (1, 2):
        mailbox.put(frame(sequence))
        deadline_s = time.monotonic() + 5
        while sequence not in seen and time.monotonic() < deadline_s:
            time.sleep(0.001)
    assert seen == [1, 2]
    assert [str(error) for error in errors] == ["no luck"]
    started_s = time.monotonic()
    worker.end(timeout_s=5)
    assert not worker.is_alive()
    assert time.monotonic() - started_s < 2


def test_a_worker_that_cannot_finish_in_time_is_left_and_does_not_complain():
    mailbox, errors, started, ended = Mailbox(), [], threading.Event(), threading.Event()

    def work(taken):
        started.set()
        ended.wait(30)
        raise RuntimeError("the publisher is gone")

    worker = Worker("trial", mailbox, work, errors.append)
    worker.start()
    mailbox.put(frame(1))
    assert started.wait(30)
    worker.end(timeout_s=0.01)
    assert worker.is_alive()
    ended.set()
    worker.join(30)
    assert not worker.is_alive()
    assert errors == []


def test_a_nice_worker_stands_back_and_no_other_thread_does():
    own, seen = os.getpriority(os.PRIO_PROCESS, 0), []
    mailbox = Mailbox()

    def work(taken):
        if taken is not None:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    worker = Worker("trial", mailbox, work, seen.append, niceness=4)
    worker.start()
    mailbox.put(frame(1))
    deadline_s = time.monotonic() + 30
    while not seen and time.monotonic() < deadline_s:
        time.sleep(0.001)
    worker.end(timeout_s=5)
    assert seen == [min(own + 4, 19)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


# ---- faults


def test_faults_are_counted_all_but_logged_at_a_throttled_rate():
    now, log, errors = [0.0], [], []
    faults = Faults(log.append, errors.append, clock=lambda: now[0])
    for _ in range(100):
        faults.report("unreadable image", "it has no data")
        now[0] += 0.05
    assert log == ["unreadable image: it has no data"]
    faults.report("unreadable image", "its step is too small")
    faults.report("init refused", "the box is empty")
    assert log[1:] == [
        "unreadable image: its step is too small (and 99 more of this kind)",
        "init refused: the box is empty",
    ]
    now[0] += 10
    faults.report("unreadable image", "its step is too small")
    assert log[-1] == "unreadable image: its step is too small"
    assert faults.counts == {"unreadable image": 102, "init refused": 1}
    assert errors == []


def test_what_needs_help_from_outside_is_logged_as_an_error():
    log, errors = [], []
    faults = Faults(log.append, errors.append)
    faults.report(faults_module.INCOMPATIBLE_QOS, "reliability does not fit")
    faults.report(faults_module.TRACKING_FAILED, "no engine is left")
    faults.report(faults_module.NO_IMAGE, "no image for 3 s on /image")
    assert errors == ["incompatible QoS: reliability does not fit", "tracking failed: no engine is left"]
    assert log == ["no image for 3 s on /image"], "the kind is not said twice"


@pytest.mark.parametrize("side", [3, 4, 6, 8, 10, 12])
def test_the_offset_of_a_small_target_is_that_of_its_centre(side):
    width, height = 320, 240
    image, tracker = np.zeros((height, width, 3), np.uint8), DyTracker(StillEngine(), policy=FixedExit(1))
    for x, y in ((100.5, 80.5), (0, 0), (width - side, height - side)):
        tracker.initialize(image, (x, y, side, side))
        point = target_offset_message(Header(), tracker.track(image).box, width, height).point
        assert (point.x + 1) / 2 * width == pytest.approx(x + side / 2, abs=0.1)
        assert (point.y + 1) / 2 * height == pytest.approx(y + side / 2, abs=0.1)
        assert point.z * width * height == pytest.approx(side**2, rel=0.05)
