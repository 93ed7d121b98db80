"""Drawing on a thread of its own: it may be slow or fail, and no frame is the worse for it."""

import threading

import pytest
from dytrack_ros.msg import TrackStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from dytrack_ros.nodes import overlay
from dytrack_ros.nodes.tracker_node import TrackerNode

BOX = (480.0, 350.0, 60.0, 50.0)


@pytest.fixture
def watched(graph, tiny_weights):
    """A live graph whose node, in this process, follows a target while somebody watches its overlay."""
    never_lost = {"lost__score": 0.0, "lost__uncertain_score": 0.0}
    graph.node = graph.host(TrackerNode, model=str(tiny_weights), engine="torch", threads=1, **never_lost)
    graph.listen_to_tracker()
    graph.speak_to_tracker()
    graph.show_until_answered()
    graph.follow(BOX)
    graph.listen(Image, "overlay", graph.overlays, qos_profile_sensor_data)
    graph.wait_until(lambda: graph.show() and graph.overlays, "overlay")
    return graph


def test_slow_drawing_leaves_out_pictures_and_delays_no_frame(watched, monkeypatch):
    started, released, drawn = threading.Event(), threading.Event(), []

    def draw(image, annotation):
        drawn.append(annotation)
        started.set()
        assert released.wait(60)

    monkeypatch.setattr(overlay, "draw", draw)
    watched.wait_until(lambda: watched.show() and started.is_set(), "drawing")
    drawn_before = len(drawn)
    answers = [watched.show() for _ in range(5)]
    assert len(drawn) == drawn_before, "it still draws the first"
    overhead_s = watched.node._budget.view().overhead_s
    released.set()
    newest = answers[-1].stamp
    watched.wait_until(lambda: newest in watched.overlays, "picture of the newest frame")
    assert not {answer.stamp for answer in answers[:-1]} & watched.overlays.keys(), "those between are left out"
    assert len(drawn) == drawn_before + 1
    assert overhead_s == watched.node._budget.view().overhead_s, "drawing is nothing that the budget counts"


def test_what_cannot_be_drawn_is_reported_and_tracking_goes_on(watched, monkeypatch):
    def draw(image, annotation):
        raise RuntimeError("no ink")

    target_id = watched.show().status.target_id
    monkeypatch.setattr(overlay, "draw", draw)
    counts = watched.wait_until(
        lambda: watched.show() and watched.node._faults.counts["drawing failed"], "report of the failure"
    )
    assert counts >= 1
    answer = watched.show()
    assert (answer.status.target_id, answer.status.state) == (target_id, TrackStatus.TRACKING)
    monkeypatch.undo()
    watched.overlays.clear()
    watched.wait_until(lambda: watched.show() and watched.overlays, "overlay after the failure")
