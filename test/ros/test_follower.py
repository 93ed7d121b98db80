"""Init, catch-up, tracking and stop, with a tracker that does as it is told."""

import time
from types import SimpleNamespace

import pytest

from dytrack_ros.nodes import follower as follower_module
from dytrack_ros.nodes.faults import INIT_REFUSED, TRACKING_FAILED, UNREADABLE_IMAGE
from dytrack_ros.nodes.follower import Follower, Init
from dytrack_ros.nodes.frame_buffers import Frame, FrameRing
from dytrack_ros.nodes.images import UnreadableImageError
from dytrack_ros.tracking import TrackResult, TrackState

BOX = (10.0, 10.0, 20.0, 20.0)
PERIOD_S = 0.1


class FakeTracker:
    """Answers with the number that its image carries, and keeps a list of what it was asked."""

    exit_count = 3

    def __init__(self):
        self.calls = []
        self.on_track = lambda: None

    def initialize(self, image, box):
        if box[2] <= 0:
            raise ValueError("box must have a positive size")
        self.calls.append(("initialize", image.number))

    def track(self, image):
        number = image.number
        self.calls.append(("track", number))
        self.on_track()
        return TrackResult(
            2, (0.4, 0.7), (0.01, 0.01), 0.02, box=(number, 0, 5, 5), score=0.7, state=TrackState.TRACKING
        )


class FakeImage:
    """An image that shows its message's number; like a compressed one it fails only when it is decoded."""

    def __init__(self, message, value_range):
        self.number, self.value_range, self.is_loaded = message.number, value_range, False

    def load(self):
        self.is_loaded = True
        if self.number < 0:
            raise UnreadableImageError("this picture cannot be read")


class Bench:
    """A follower with all around it; frames arrive every PERIOD_S, frame n stamped n tenths of a second."""

    def __init__(self):
        self.tracker = FakeTracker()
        self.ring = FrameRing()
        self.published = []
        self.reports = []
        self.answers = []
        self.follower = Follower(
            self.tracker,
            self.ring,
            FakeImage,
            lambda outcome, dropped: self.published.append((outcome, dropped)),
            lambda kind, sentence: self.reports.append((kind, sentence)),
            self.answers.append,
            lambda tracker: self.on_prepare(tracker),
        )
        self.on_prepare = lambda tracker: None
        self.started_s = time.monotonic() - 10 * PERIOD_S

    def arrive(self, number, readable=True):
        message = SimpleNamespace(number=number if readable else -1, data=b"1234")
        frame = Frame(number, self.stamp(number), self.started_s + number * PERIOD_S, message)
        self.ring.append(frame)
        return frame

    def show(self, *numbers):
        for number in numbers:
            self.follower.step(self.arrive(number))

    def init(self, number=None, box=BOX, target_id=""):
        """Ask to follow the box on the frame of this number, None for the newest."""
        stamp = 0 if number is None else self.stamp(number)
        self.follower.request(Init(box, stamp, target_id, time.monotonic()))

    @staticmethod
    def stamp(number):
        return number * 100_000_000

    @property
    def reasons(self):
        """The reason of each reply, or the id of the target that was accepted."""
        assert all(answer.accepted == (not answer.reason) for answer in self.answers)
        return [answer.reason or f"follows {answer.target_id}" for answer in self.answers]

    @property
    def states(self):
        return [(outcome.frame.sequence, outcome.state.name, outcome.target_id) for outcome, _ in self.published]

    @property
    def tracked(self):
        return [number for what, number in self.tracker.calls if what == "track"]


@pytest.fixture
def bench():
    return Bench()


def test_idle_until_there_is_an_init(bench):
    bench.show(1, 2)
    assert bench.states == [(1, "IDLE", ""), (2, "IDLE", "")]
    assert bench.tracker.calls == []


def test_init_on_the_newest_frame_is_answered_with_its_own_box(bench):
    bench.show(1, 2)
    bench.init()
    bench.follower.step(None)
    outcome, _ = bench.published[-1]
    assert (outcome.frame.sequence, outcome.box, outcome.score, outcome.result) == (2, BOX, 1.0, None)
    assert (bench.reasons, bench.answers[0].stamp_ns) == (["follows target-1"], bench.stamp(2))
    bench.show(3)
    outcome, _ = bench.published[-1]
    assert (outcome.box, outcome.score, outcome.result.exit_index) == ((3, 0, 5, 5), 0.7, 2)
    assert bench.tracker.calls == [("initialize", 2), ("track", 3)]


def test_init_before_the_first_frame_waits_for_it(bench):
    bench.init()
    bench.follower.step(None)
    assert bench.published == []
    bench.show(1, 2)
    assert bench.states == [(1, "TRACKING", "target-1"), (2, "TRACKING", "target-1")]


def test_init_without_stamp_does_not_take_a_frame_from_long_ago(bench):
    bench.show(1, 2)
    bench.started_s += 100
    bench.follower.request(Init(BOX, 0, "", time.monotonic() + 100))
    bench.follower.step(None)
    assert bench.tracker.calls == []
    bench.show(3)
    assert bench.tracker.calls == [("initialize", 3)]


def test_stale_init_is_caught_up_and_only_the_newest_frame_published(bench):
    bench.show(1, 2, 3, 4, 5, 6)
    bench.init(3)
    bench.follower.step(None)
    assert bench.tracker.calls == [("initialize", 3), ("track", 4), ("track", 5), ("track", 6)]
    assert bench.states[6:] == [(6, "TRACKING", "target-1")]


def test_catching_up_skips_frames_where_tracking_is_slower_than_the_camera(bench, monkeypatch):
    now = [0.0]

    def take_a_while():
        now[0] += 0.12  # 0.24 s of video are to be passed meanwhile: every third frame of 0.1 s

    bench.tracker.on_track = take_a_while
    monkeypatch.setattr(follower_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    bench.show(*range(1, 11))
    bench.init(1)
    bench.follower.step(None)
    assert bench.tracked == [2, 5, 8, 10]
    assert bench.states[-1] == (10, "TRACKING", "target-1")


def test_catching_up_ends_even_if_frames_keep_coming(bench):
    def while_tracking():
        number = 4 + len(bench.tracked)
        bench.arrive(number)
        time.sleep(0.15)

    bench.tracker.on_track = while_tracking
    bench.show(1, 2, 3)
    bench.init(1)
    started_s = time.monotonic()
    bench.follower.step(None)
    assert time.monotonic() - started_s < 2
    assert bench.states[3:] == [(bench.tracked[-1], "TRACKING", "target-1")]


def test_an_unreadable_frame_on_the_way_is_passed_over(bench):
    bench.show(1, 2)
    bench.follower.step(bench.arrive(3, readable=False))
    bench.show(4)
    bench.init(1)
    bench.follower.step(None)
    assert bench.tracked == [2, 4]
    assert bench.reports[-1] == (UNREADABLE_IMAGE, "this picture cannot be read")


def test_init_that_overtakes_its_image_waits_for_it(bench):
    bench.show(1)
    bench.init(3)
    bench.show(2)
    assert bench.states == [(1, "IDLE", ""), (2, "IDLE", "")]
    bench.show(3, 4)
    assert bench.tracker.calls == [("initialize", 3), ("track", 4)]


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        ({"number": 2}, "no image stamped 0.200 s is kept: 20 frames are kept, stamped 2."),
        ({"number": 39}, "no image stamped 3.900 s is kept"),
        ({"number": 30}, "this picture cannot be read"),
        ({"box": (1, 1, -5, 5)}, "box must have a positive size"),
        ({"target_id": "x" * 10_000}, "id has 10000 characters, at most 256 are allowed; send a shorter one"),
    ],
    ids=["too old", "lost", "unreadable", "impossible box", "long id"],
)
def test_a_refused_init_is_answered_with_the_reason_and_keeps_the_target(bench, init, reason):
    bench.init(target_id="cup")
    bench.show(*range(1, 30))
    bench.arrive(30, readable=False)
    bench.show(*range(31, 39), 40)
    bench.init(**init)
    bench.show(41)
    assert [kind for kind, _ in bench.reports] == [INIT_REFUSED]
    assert bench.reports[0][1] == bench.reasons[1]
    assert reason in bench.reasons[1]
    assert bench.answers[1].target_id == init.get("target_id", "")
    assert bench.states[-1] == (41, "TRACKING", "cup")


def test_an_init_whose_image_never_comes_is_refused(bench, monkeypatch):
    monkeypatch.setattr(follower_module, "INIT_PATIENCE_S", 0.0)
    bench.init(3)
    bench.follower.step(None)
    assert "no frames are kept yet" in bench.reasons[0]


def test_every_init_is_answered_whatever_becomes_of_it(bench):
    bench.init(3)
    bench.init(4)
    bench.follower.stop()
    bench.init()
    bench.on_prepare = lambda tracker: bench.follower.stop()
    bench.show(1)
    bench.on_prepare = lambda tracker: 1 / 0
    bench.init()
    bench.show(2)
    first, second, third, fourth = bench.reasons
    assert first == "a newer init has come before the image of this one"
    assert second == "the tracker was told to stop before the image of this init came"
    assert third == "the tracker was told to stop while this init was handled"
    assert fourth == "ZeroDivisionError: division by zero"


def test_without_a_target_nothing_is_decoded(bench):
    bench.show(1)
    bench.follower.step(bench.arrive(2, readable=False))
    assert bench.states == [(1, "IDLE", ""), (2, "IDLE", "")]
    assert not any(outcome.image.is_loaded for outcome, _ in bench.published)
    bench.init(1)
    bench.show(3)
    assert bench.published[-1][0].image.is_loaded


def test_the_range_of_values_is_kept_from_init_to_the_next_accepted_init(bench):
    bench.init()
    bench.show(1, 2)
    bench.init(box=(1, 1, -5, 5))
    bench.show(3)
    bench.init()
    bench.show(4, 5)
    ranges = [outcome.image.value_range for outcome, _ in bench.published]
    assert ranges[0] is ranges[1] is ranges[2] is not ranges[3] is ranges[4]


def test_an_init_passes_any_number_of_unreadable_images_over(bench):
    bench.ring.set_limits(1000, 64)
    bench.show(1)
    for number in range(2, 2000):
        bench.ring.append(Frame(number, 0, bench.started_s + 1, SimpleNamespace(number=-1, data=b"")))
    bench.init()
    bench.follower.step(None)
    assert bench.tracker.calls == [("initialize", 1)]


def test_re_init_starts_a_new_target_and_a_refused_one_keeps_the_old(bench):
    bench.init()
    bench.show(1)
    bench.init(box=(1, 1, -5, 5))
    bench.show(2)
    assert bench.reports == [(INIT_REFUSED, "box must have a positive size")]
    bench.init()
    bench.show(3)
    bench.init(target_id="cup")
    bench.show(4)
    assert bench.states == [
        (1, "TRACKING", "target-1"),
        (2, "TRACKING", "target-1"),
        (3, "TRACKING", "target-2"),
        (4, "TRACKING", "cup"),
    ]


def test_when_time_jumps_a_waiting_init_stays(bench):
    bench.init(target_id="cup")
    bench.show(1)
    bench.init(3, target_id="mug")
    bench.follower.forget_target()
    bench.show(2, 3)
    assert bench.states[1:] == [(2, "IDLE", ""), (3, "TRACKING", "mug")]


@pytest.mark.parametrize("number", [None, 2], ids=["without stamp", "stamped"])
def test_while_nobody_knows_whether_time_jumped_init_waits(bench, number):
    bench.show(2, 5)  # the same stamp, before the jump
    bench.ring.is_in_doubt = True  # frame 2 has come
    bench.init(number)
    bench.follower.step(None)
    assert bench.tracker.calls == []
    bench.ring.clear()
    bench.follower.forget_target()
    bench.arrive(2)
    bench.arrive(3)
    bench.follower.step(None)
    assert bench.tracker.calls[0] == ("initialize", number or 3)


def test_init_without_stamp_waits_where_no_image_was_readable(bench):
    bench.follower.step(bench.arrive(1, readable=False))
    bench.init()
    bench.follower.step(None)
    bench.show(2)
    assert bench.tracker.calls == [("initialize", 2)]


def test_stop_forgets_target_and_waiting_init(bench):
    bench.init(target_id="cup")
    bench.show(1)
    bench.init(5)
    assert bench.follower.stop() == "cup"
    assert bench.follower.stop() == ""
    bench.show(2, 5, 6)
    assert bench.states[1:] == [(2, "IDLE", ""), (5, "IDLE", ""), (6, "IDLE", "")]


def test_no_box_is_published_after_stop_even_if_its_frame_was_under_work(bench):
    bench.init()
    bench.show(1)
    bench.tracker.on_track = bench.follower.stop
    bench.show(2)
    assert bench.states[-1] == (2, "IDLE", "")
    assert bench.published[-1][0].box is None


def test_failing_tracker_leaves_an_idle_follower_that_takes_the_next_init(bench):
    def fail():
        raise RuntimeError("engine out of memory\nwith a long tail")

    bench.init()
    bench.show(1)
    bench.tracker.on_track = fail
    bench.show(2)
    assert bench.reports == [
        (
            TRACKING_FAILED,
            "RuntimeError: engine out of memory with a long tail; the target is given up, send init again",
        )
    ]
    bench.tracker.on_track = lambda: None
    bench.init()
    bench.show(3, 4)
    assert [state for _, state, _ in bench.states] == ["TRACKING", "IDLE", "TRACKING", "TRACKING"]


def test_dropped_frames_are_those_without_an_outcome(bench):
    bench.init()
    bench.show(1)
    bench.arrive(2)
    bench.arrive(3)
    bench.show(4)
    bench.follower.step(bench.arrive(5, readable=False))
    bench.show(6)
    bench.init(4)
    bench.follower.step(None)  # publishes frame 6 once more
    bench.show(7)
    assert [(outcome.frame.sequence, dropped) for outcome, dropped in bench.published] == [
        (1, 0),
        (4, 2),
        (6, 3),
        (6, 3),
        (7, 3),
    ]


def test_a_frame_that_was_caught_up_is_not_followed_again(bench):
    bench.show(1, 2)
    waiting = bench.arrive(3)
    bench.init(1)
    bench.follower.step(waiting)
    assert bench.follower.step(waiting) is None
    assert bench.tracked == [2, 3]


def test_the_tracker_is_prepared_before_each_frame_and_never_within_one(bench):
    bench.on_prepare = lambda tracker: tracker.calls.append("prepare")
    bench.show(1, 2, 3)
    assert bench.tracker.calls == ["prepare"] * 3, "without a target too: status says what is in force"
    bench.tracker.calls.clear()
    bench.init(1)
    bench.follower.step(None)
    assert bench.tracker.calls == [
        *("prepare", ("initialize", 1)),
        *("prepare", ("track", 2)),
        *("prepare", ("track", 3)),
    ]


def test_an_outcome_says_when_work_on_its_own_frame_began(bench):
    bench.tracker.on_track = lambda: time.sleep(0.02)
    bench.show(1, 2, 3)
    bench.init(1)
    before_s = time.monotonic()
    bench.follower.step(None)
    outcome, _ = bench.published[-1]
    assert before_s + 0.02 <= outcome.started_s <= time.monotonic() - 0.02, "that of frame 3, not of frame 2"
