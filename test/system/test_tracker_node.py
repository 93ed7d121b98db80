"""tracker_node as a process, with random weights: what it answers, what it refuses, and that nothing brings it down."""

import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from dytrack_ros.msg import TrackStatus
from live_graph import HEIGHT, WIDTH, LiveGraph
from node_graph import PATIENCE_S
from rclpy.qos import ReliabilityPolicy
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import ImageMarker

from dytrack_ros.nodes import parameters
from dytrack_ros.nodes.messages import stamp_ns
from dytrack_ros.policies.exit_policy import DEFAULT_THRESHOLDS
from dytrack_ros.tracking.box import iou

BOX = (480.0, 350.0, 60.0, 50.0)
# Random weights score at random: with these no frame counts as lost.
NEVER_LOST = {"lost__score": 0.0, "lost__uncertain_score": 0.0}
NODE = "tracker_node"


@pytest.fixture(scope="module")
def shared(tmp_path_factory, tiny_weights):
    """One tracker for all tests of this module: loading it is what takes time."""
    live = LiveGraph(tmp_path_factory.mktemp("tracker"))
    # Without a budget, so that it is the thresholds that count.
    process = live.start("tracker_node", model=str(tiny_weights), threads=1, budget__mode="unlimited", **NEVER_LOST)
    live.meet_tracker(DiagnosticArray)
    yield SimpleNamespace(graph=live, process=process)
    live.close()


@pytest.fixture
def tracker(shared):
    """The shared tracker, idle, with a fresh image shown."""
    assert shared.process.exit_code is None, shared.process.output
    stop(shared.graph)
    assert shared.graph.show().status.state == TrackStatus.IDLE
    return shared


def stop(graph):
    return graph.call(Trigger, f"{NODE}/stop", Trigger.Request())


def test_init_track_reinit_stop(tracker):
    graph = tracker.graph
    idle = graph.show()
    assert (idle.status.state, idle.status.target_id, idle.detection) == (TrackStatus.IDLE, "", None)

    answer = graph.follow(BOX)
    assert answer.results[0].hypothesis.class_id == "target"
    assert answer.results[0].hypothesis.score == 1.0
    first_id = answer.id
    assert first_id.startswith("target-")
    centre = answer.bbox.center.position
    assert (centre.x, centre.y, answer.bbox.size_x, answer.bbox.size_y) == (510, 375, 60, 50)

    before = BOX
    for _ in range(5):
        tracked = graph.show()
        status, detection = tracked.status, tracked.detection
        assert detection.header == status.header == graph.header(tracked.stamp)
        assert detection.id == status.target_id == first_id
        assert status.state == TrackStatus.TRACKING
        assert 0 <= detection.results[0].hypothesis.score <= 1
        assert detection.results[0].hypothesis.score == pytest.approx(status.score)
        assert_inside_the_search_region(tracked.box, before)
        assert_complete(status)
        before = tracked.box

    assert graph.follow((20.0, 30.0, 40.0, 40.0), target_id="cup").id == "cup"
    tracked = graph.show()
    assert tracked.status.target_id == "cup"
    assert_inside_the_search_region(tracked.box, (20, 30, 40, 40))

    assert stop(graph).message == "stopped following cup"
    assert stop(graph).message == "there was no target"
    stopped = graph.show()
    assert (stopped.status.state, stopped.detection) == (TrackStatus.IDLE, None)
    assert stopped.stamp not in graph.detections


def assert_inside_the_search_region(box, before):
    """In pixels of the full image: within four times the size of the box before, around it, and in the image."""
    x, y, width, height = box
    reach = 2 * math.ceil(math.sqrt(before[2] * before[3])) + 10.5
    assert abs(x + width / 2 - before[0] - before[2] / 2) <= reach
    assert abs(y + height / 2 - before[1] - before[3] / 2) <= reach
    assert x >= 0
    assert y >= 0
    assert x + width <= WIDTH + 0.01
    assert y + height <= HEIGHT + 0.01


def assert_complete(status):
    assert status.exit_count == 3
    assert 1 <= status.exit_index <= 3
    assert len(status.exit_scores) == len(status.stage_ms) == status.exit_index
    assert status.exit_scores[-1] == status.score
    assert all(milliseconds > 0 for milliseconds in status.stage_ms)
    assert len(status.exit_thresholds) == 2
    assert sum(status.stage_ms) < status.latency_ms < 10_000
    assert status.image_age_ms > 0
    assert (status.budget_ms, status.thrift, status.deadline_cut) == (0, 0, False)


def test_live_parameters(tracker):
    graph = tracker.graph
    graph.follow(BOX)
    assert graph.set_parameters(NODE, exit__tau_1=0.5) == (True, "")
    assert graph.show().status.exit_thresholds.tolist() == pytest.approx([0.5, DEFAULT_THRESHOLDS[1]])
    assert graph.set_parameters(NODE, exit__policy="fixed", exit__fixed=2, atomically=True) == (True, "")
    status = graph.show().status
    assert (status.exit_index, len(status.exit_thresholds)) == (2, 0)

    for name, value, words in [
        ("exit__tau_1", 1.5, ["exit.tau_1", "0.0", "1.0", "1.5"]),
        ("exit__tau_1", math.nan, ["exit.tau_1", "0.0", "1.0"]),
        ("exit__fixed", 4, ["exit.fixed", "1", "3"]),
        ("exit__policy", "whatever", ["exit.policy", "thresholds, fixed"]),
        ("model", "another", ["model", "read-only"]),
    ]:
        accepted, reason = graph.set_parameters(NODE, **{name: value})
        assert not accepted
        for word in words:
            assert word in reason
    assert graph.show().status.exit_index == 2, "refused values change nothing"
    assert graph.set_parameters(NODE, lost__score=0.3) == (True, ""), "whatever lost.uncertain_score is"
    assert graph.set_parameters(NODE, **NEVER_LOST, exit__policy="thresholds", exit__tau_1=0.8, atomically=True)[0]


def test_a_lost_target_is_held_then_hidden_and_found_again(tracker):
    graph = tracker.graph
    graph.follow(BOX)
    hopeless = {"lost__score": 1.0, "lost__uncertain_score": 1.0, "lost__frames": 3}
    assert graph.set_parameters(NODE, **hopeless, atomically=True)[0]
    doubtful = [graph.show() for _ in range(2)]
    assert [answer.status.state for answer in doubtful] == [TrackStatus.UNCERTAIN] * 2
    assert {answer.status.exit_index for answer in doubtful} == {3}, "doubt goes to full depth"
    for _ in range(4):
        lost = graph.show()
        assert lost.status.state == TrackStatus.LOST
        assert lost.box == pytest.approx(BOX), "where it was last seen"
        assert lost.detection.results[0].hypothesis.score == lost.status.score == 0
        assert len(lost.status.exit_scores) == 3

    assert graph.set_parameters(NODE, lost__hide=True)[0]
    message = graph.image_message()
    graph.publish(message)
    stamp = stamp_ns(message.header)
    graph.wait_until(lambda: graph.statuses.get(stamp), "status of a hidden target")
    assert graph.statuses[stamp].state == TrackStatus.LOST
    assert stamp not in graph.detections

    anything = {**NEVER_LOST, "lost__hysteresis": 0.0, "lost__match": -1.0, "lost__hide": False}
    assert graph.set_parameters(NODE, **anything, atomically=True)[0]
    states = [graph.show().status.state for _ in range(6)]
    assert states[-1] == TrackStatus.TRACKING, "two finds in a row end it"
    defaults = {name: default_of(name) for name in ("lost__hysteresis", "lost__match", "lost__frames")}
    assert graph.set_parameters(NODE, **defaults, atomically=True)[0]


def default_of(name):
    (default,) = (each.default for each in parameters.TRACKER if each.name == name.replace("__", "."))
    return default


def test_the_motion_prior_acts_from_the_next_image_on(tracker):
    graph, overlaps = tracker.graph, []
    for weight in (0.0, 20.0):
        assert graph.set_parameters(NODE, motion__prior=weight)[0]
        graph.follow(BOX)
        overlaps.append(iou(graph.show().box, BOX))
    assert graph.set_parameters(NODE, motion__prior=default_of("motion__prior"))[0]
    assert overlaps[0] < overlaps[1] - 0.1, "random weights find nothing: the prior keeps the box where it was"


def test_size_damping_acts_from_the_next_image_on(tracker):
    graph, changes = tracker.graph, []
    for damping in (0.0, 1.0):
        changed = {"motion__size_damping": damping, "motion__prior": 0.0, "init__correction": 0.0}
        assert graph.set_parameters(NODE, atomically=True, **changed)[0]
        graph.follow(BOX)
        changes.append(abs(math.log(graph.show().box[2] / BOX[2])))
    assert graph.set_parameters(NODE, atomically=True, **{name: default_of(name) for name in changed})[0]
    assert changes[1] < 0.9 * changes[0], "random weights find another size with a score well under 1"


def test_disabled_it_ignores_images_and_remembers_the_target(tracker):
    graph = tracker.graph
    target_id = graph.follow(BOX).id
    assert graph.call(SetBool, f"{NODE}/enable", SetBool.Request(data=False)).success
    message = graph.image_message()
    graph.publish(message)
    graph.wait_until(lambda: "disabled" in graph.diagnostics["input"].message, "word of it in diagnostics")
    assert graph.newest_stamp not in graph.statuses
    assert graph.call(SetBool, f"{NODE}/enable", SetBool.Request(data=True)).success
    assert graph.show().status.target_id == target_id


def test_markers_only_while_somebody_listens(tracker):
    graph = tracker.graph
    markers = {}

    def keep(message):
        markers[stamp_ns(message.header)] = message

    listener = graph.client.create_subscription(ImageMarker, "markers", keep, 10)
    graph.follow(BOX)

    def seen():
        answer = graph.show()
        graph.hear(0.2)
        return answer if answer.stamp in markers else None

    answer = graph.wait_until(seen, "markers of an image")
    marker = markers[answer.stamp]
    assert marker.header == answer.status.header
    x, y, width, height = answer.box
    assert (marker.points[0].x, marker.points[0].y) == pytest.approx((x, y))
    assert (marker.points[3].x, marker.points[3].y) == pytest.approx((x + width, y + height))
    assert len(marker.points) > 8, "the searched region, too"
    assert len(marker.outline_colors) == len(marker.points) // 2
    graph.client.destroy_subscription(listener)


def test_diagnostics(tracker):
    graph = tracker.graph
    target_id = graph.follow(BOX).id
    graph.wait_until(
        lambda: graph.show() and target_id in graph.diagnostics["tracker"].message, "target in diagnostics"
    )
    assert graph.diagnostics["tracker"].level == DiagnosticStatus.OK
    assert value(graph.diagnostics["tracker"], "model") == "random_tiny"
    assert float(value(graph.diagnostics["input"], "rate_hz")) > 0
    assert value(graph.diagnostics["input"], "topic") == "/image"
    assert float(value(graph.diagnostics["timing"], "latency_ms")) > 0
    stop(graph)
    graph.wait_until(
        lambda: graph.show() and graph.diagnostics["tracker"].message == "idle, waiting for init", "idle in diagnostics"
    )
    assert graph.diagnostics["tracker"].level == DiagnosticStatus.OK, "waiting is no fault"


def value(status, key):
    return next(pair.value for pair in status.values if pair.key == key)


def test_silence_is_noticed_with_topic_and_publishers(tracker):
    tracker.graph.wait_logged(
        tracker.process,
        " s on /image, 1 publisher with /client (reliable, volatile)",
    )


def test_sigint_ends_it_cleanly(tracker):
    """The last test with the shared tracker: it must have survived all the others."""
    tracker.graph.follow(BOX)
    with tracker.graph.flood():
        assert_ends_cleanly(tracker.process, signal.SIGINT)


def assert_ends_cleanly(process, number):
    started_s = time.monotonic()
    assert process.stop(number, PATIENCE_S) == 0, process.output
    if os.getloadavg()[0] < os.cpu_count():  # otherwise the time says nothing about the node
        assert time.monotonic() - started_s < 1
    assert "Traceback" not in process.output
    assert "rror" not in process.output, process.output


def test_compressed_images_init_before_the_first_and_sigterm(graph, tiny_weights):
    process = graph.start(
        "tracker_node",
        model=str(tiny_weights),
        threads=1,
        image_transport="compressed",
        **{"qos_overrides./image/compressed.subscription.reliability": "reliable"},
        **NEVER_LOST,
    )
    graph.listen_to_tracker()
    graph.speak_to_tracker(compressed=True)
    graph.wait_logged(process, "ready: waits for images on /image/compressed")
    graph.wait_until(graph.init_publisher.get_subscription_count, "subscriber of init")
    graph.init(BOX, target_id="early")
    graph.show_until_answered()
    # Nothing orders two topics: the first image may overtake the init.
    assert {status.target_id for status in graph.statuses.values()} <= {"", "early"}
    assert graph.show().detection.id == "early"
    (subscription,) = graph.client.get_subscriptions_info_by_topic("/image/compressed")
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE, "qos_overrides are honoured"
    assert_ends_cleanly(process, signal.SIGTERM)


def test_sigint_while_loading(graph, tiny_weights):
    process = graph.start("tracker_node", model=str(tiny_weights))
    graph.wait_logged(process, "loading")
    assert_ends_cleanly(process, signal.SIGINT)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"model": "no_such_model"}, "no_such_model"),
        ({"exit__tau_1": 7.0}, "exit.tau_1"),
        ({"exit__policy": "whatever"}, "exit.policy must be one of thresholds, fixed, not 'whatever'"),
    ],
)
def test_a_wrong_start_is_refused_in_one_line(graph, parameters, words):
    process = graph.start("tracker_node", **parameters)
    graph.wait_until(lambda: process.exit_code is not None, "end of the process")
    assert process.exit_code == 1
    last_line = process.output.splitlines()[-1]
    assert last_line.startswith("error: ")
    assert words in last_line
    assert "Traceback" not in process.output


def test_an_import_that_turns_the_interrupt_into_its_own_error_ends_cleanly_too():
    program = (
        "import os, signal, sys, time\n"
        "from dytrack_ros.nodes.run import run\n"
        "def build():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(5)\n"
        "    except KeyboardInterrupt:\n"
        "        raise ImportError('initialization failed')\n"
        "sys.exit(run(build))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
