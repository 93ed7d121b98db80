"""What one bad message may cost, and what any number of them may: the parts of the node in one process, without ROS."""

from types import SimpleNamespace

import hostile_messages as hostile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from still_engine import StillEngine

from dytrack_ros.nodes.faults import Faults
from dytrack_ros.nodes.follower import Follower, Init
from dytrack_ros.nodes.frame_buffers import FrameRing, Mailbox
from dytrack_ros.nodes.images import fill_compressed, fill_image, open_compressed, open_image
from dytrack_ros.nodes.intake import Intake
from dytrack_ros.tracking import DyTracker, TrackState
from dytrack_ros.tracking.box import check_init_box

pytestmark = [
    pytest.mark.timeout(1200 if hostile.IS_WHOLE else 240),
]

WIDTH, HEIGHT = 160, 120
BOX = (90.0, 60.0, 20.0, 20.0)
PERIOD_NS = 33_333_333
PICTURE = np.frombuffer(hostile.NOISE, np.uint8)[: HEIGHT * WIDTH * 3].reshape(HEIGHT, WIDTH, 3)


class Bench:
    """All that lies between two topics and the answer, in one thread; a camera that is fine beside what is not."""

    def __init__(self, transport):
        self._fill, decode = {"raw": (fill_image, open_image), "compressed": (fill_compressed, open_compressed)}[
            transport
        ]
        self.log, self.answers = [], {}
        self.faults = Faults(self.log.append, self.log.append)
        self._ring, self._mailbox = FrameRing(), Mailbox()
        tracker = DyTracker(StillEngine())
        self.follower = Follower(tracker, self._ring, decode, self._publish, self.faults.report)
        self._intake = Intake(
            self._ring, self._mailbox, lambda seconds: self.follower.forget_target(), self.faults.report
        )
        self._stamp_ns = 1_000_000_000_000

    def _publish(self, outcome, dropped):
        self.answers[outcome.frame.stamp_ns] = outcome

    def send(self, kind, fields, stamp):
        """One message; a stamp of None is that of the next good image."""
        stamp_ns = self._stamp_ns + PERIOD_NS if stamp is None else stamp[0] * 1_000_000_000 + stamp[1]
        if kind == "init":
            received_s = self._intake.last_received_s
            self.follower.request(Init(fields["box"], stamp_ns, fields["target_id"], received_s))
        else:
            self._intake.receive(SimpleNamespace(**fields), stamp_ns)
        self.follower.step(self._mailbox.take(0))

    def show(self):
        """A good image, a period later; what was answered to it, None if nothing."""
        self._stamp_ns += PERIOD_NS
        message = SimpleNamespace()
        self._fill(message, PICTURE)
        self.send("image", vars(message), divmod(self._stamp_ns, 1_000_000_000))
        return self.answers.get(self._stamp_ns)

    def follow(self, target_id):
        self.send("init", {"box": BOX, "target_id": target_id}, divmod(self._stamp_ns, 1_000_000_000))


def examples(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@pytest.mark.parametrize("transport", ["raw", "compressed"])
@examples(hostile.MESSAGES // 5)
@given(st.data())
def test_one_bad_message_costs_at_most_the_image_after_it_and_no_target(transport, data):
    bench = Bench(transport)
    bench.show()
    bench.follow("cup")
    before = bench.show()
    assert (before.target_id, before.box) == ("cup", pytest.approx(BOX))

    kind, fields, stamp = data.draw(hostile.messages(transport))
    bench.send(kind, fields, stamp)
    after = bench.show() or bench.show()  # a stamp up to a second ahead makes one image late
    if bench.follower.target_id != "cup":
        assert kind == "init"
        check_init_box(fields["box"], WIDTH, HEIGHT)
    else:
        assert (after.state, after.target_id, after.box) == (TrackState.TRACKING, "cup", pytest.approx(BOX))
    assert bench.show() is not None


@pytest.mark.parametrize("transport", ["raw", "compressed"])
@examples(hostile.MESSAGES // 12)
@given(st.data())
def test_after_any_number_of_bad_messages_the_second_good_image_is_answered(transport, data):
    bench = Bench(transport)
    if data.draw(st.booleans()):
        bench.show()
        bench.follow("cup")
    for message in data.draw(st.lists(hostile.messages(transport), max_size=20)):
        bench.send(*message)
    bench.show()
    assert bench.show() is not None
    bench.follow("cup")
    answer = bench.show()
    assert (answer.state, answer.target_id) == (TrackState.TRACKING, "cup")
    assert answer.box == pytest.approx(BOX)
    assert len(bench.log) <= len(bench.faults.counts), "the first of each kind, within this second"
    for line in bench.log:
        assert len(line) < 1000
        assert "\n" not in line
