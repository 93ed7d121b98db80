"""tracker_node, in this process, while its engines fail: it says so, goes on where it can, and is never silent."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from dytrack_ros.msg import TrackStatus
from failing_engines import OUT_OF_MEMORY, Engines, needs_both_engines
from std_srvs.srv import Trigger

from dytrack_ros.nodes.tracker_node import TrackerNode

pytestmark = needs_both_engines

BOX = (480.0, 350.0, 60.0, 50.0)
NODE = "tracker_node"
REASON = f"torch (cpu) failed: RuntimeError: {OUT_OF_MEMORY}".replace("\n", " ")


@pytest.fixture
def engines(monkeypatch):
    engines = Engines(monkeypatch)
    engines.fail("torch")
    engines.fail("onnxruntime")
    return engines


@pytest.fixture
def node(graph, engines, tiny_weights):
    """A tracker that follows `cup` by torch, all that it says being heard."""
    node = graph.host(
        TrackerNode, model=str(tiny_weights), engine="torch", device="cpu", threads=1, budget__mode="rate",
        lost__score=0.0, lost__uncertain_score=0.0,
    )  # fmt: skip
    graph.meet_tracker(DiagnosticArray)
    graph.follow(BOX, target_id="cup")
    assert graph.show().status.state == TrackStatus.TRACKING
    assert figure(graph, "tracker", "engine") == "torch (cpu)"
    return node


def figure(graph, task, key):
    """A value of the next diagnostics."""
    graph.diagnostics.clear()
    graph.wait_until(lambda: task in graph.diagnostics, "diagnostics")
    return next(pair.value for pair in graph.diagnostics[task].values if pair.key == key)


def lines(capfd, words):
    return [line for line in capfd.readouterr().err.splitlines() if words in line]


def test_the_next_engine_follows_the_target_on_and_the_node_says_so(graph, engines, node, capfd):
    costs = figure(graph, "timing", "exit_costs_ms")
    engines.classes["torch"].is_broken = True
    for _ in range(3):
        status = graph.show().status
        assert (status.state, status.target_id) == (TrackStatus.TRACKING, "cup")
    (line,) = lines(capfd, "engine failed")
    assert line.endswith(f"engine failed: {REASON}; onnxruntime is loaded instead")
    assert engines.loaded == ["torch", "onnxruntime"]

    assert figure(graph, "tracker", "engine") == "onnxruntime (cpu)"
    tracker = graph.diagnostics["tracker"]
    assert tracker.level == DiagnosticStatus.WARN
    assert tracker.message == f"tracking cup; {REASON}; onnxruntime (cpu) is used instead"
    assert figure(graph, "timing", "exit_costs_ms") != costs, "measured anew"
    assert graph.show().status.slowdown < 100, "relative to what the present engine costs"
    assert graph.call(Trigger, f"{NODE}/stop", Trigger.Request()).message == "stopped following cup"


def test_where_no_engine_is_left_the_node_is_idle_says_so_and_takes_the_next_init(graph, engines, node, capfd):
    for failing in engines.classes.values():
        failing.is_broken = True
    status = graph.show().status
    assert (status.state, status.target_id) == (TrackStatus.IDLE, "")
    *_, line = lines(capfd, "failed: ")  # the failure of the first engine comes before
    assert f"tracking failed: RuntimeError: no engine is left: {REASON}; onnxruntime failed: RuntimeError: " in line
    assert line.endswith("; the target is given up, send init again")
    graph.wait_until(
        lambda: graph.diagnostics["tracker"].level == DiagnosticStatus.ERROR, "error in the tracker's diagnostics"
    )
    assert graph.show().status.state == TrackStatus.IDLE
    assert graph.call(Trigger, f"{NODE}/stop", Trigger.Request()).message == "there was no target"

    for failing in engines.classes.values():
        failing.is_broken = False
    graph.follow(BOX, target_id="bowl")
    status = graph.show().status
    assert (status.state, status.target_id) == (TrackStatus.TRACKING, "bowl")
    assert figure(graph, "tracker", "engine") == "torch (cpu)"
    assert graph.diagnostics["tracker"].level == DiagnosticStatus.OK


def test_an_error_anywhere_in_the_worker_is_one_line_and_the_services_answer(graph, node, capfd, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("division\nby zero")

    for number, part in enumerate(("_open_image", "_prepare", "_publish"), start=1):
        with monkeypatch.context() as patch:
            patch.setattr(node._follower, part, fail)
            answered = set(graph.statuses)
            graph.publish(graph.image_message())
            graph.wait_until(lambda: node._faults.counts["tracking failed"] >= number, f"fault in {part}")  # noqa: B023
            assert graph.call(Trigger, f"{NODE}/stop", Trigger.Request()).message == "there was no target"
            assert set(graph.statuses) == answered
            assert figure(graph, "tracker", "state") == "IDLE"
        assert graph.show().status.state == TrackStatus.IDLE
        graph.follow(BOX)
        assert graph.show().status.state == TrackStatus.TRACKING
    (line,) = lines(capfd, "tracking failed")  # the others are the same, and repeated only after a while
    assert line.endswith(
        "tracking failed: ZeroDivisionError: division by zero; the target is given up, send init again"
    )
