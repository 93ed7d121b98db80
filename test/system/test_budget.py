"""The time budget of tracker_node as a process, with random weights. How fast the machine is does not matter."""

import math
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from dytrack_ros.msg import TrackStatus
from live_graph import LiveGraph

BOX = (480.0, 350.0, 60.0, 50.0)
NODE = "tracker_node"
TAUS = (0.31, 0.64)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, tiny_weights):
    """One tracker for all tests of this module, with the budget that nobody has set: the camera's period."""
    live = LiveGraph(tmp_path_factory.mktemp("budget"))
    live.frame_ns = 100_000_000
    process = live.start(
        "tracker_node",
        model=str(tiny_weights),
        threads=1,
        exit__tau_1=TAUS[0],
        exit__tau_2=TAUS[1],
        lost__score=0.0,
        lost__uncertain_score=0.0,
    )
    live.meet_tracker(DiagnosticArray)
    yield SimpleNamespace(graph=live, process=process)
    live.close()


@pytest.fixture
def graph(shared):
    assert shared.process.exit_code is None, shared.process.output
    shared.graph.show()
    shared.graph.follow(BOX)
    return shared.graph


def change(graph, **values):
    assert graph.set_parameters(NODE, **values, atomically=True) == (True, "")


def figures(graph):
    """The values of the task timing in the last diagnostics."""
    timing = graph.diagnostics.get("timing", DiagnosticStatus())
    return {pair.key: pair.value for pair in timing.values}


def test_exits_are_measured_before_it_is_ready(shared):
    log = shared.process.output
    assert log.index("the exits take ") < log.index("ready: waits for images")
    assert "default thresholds" in log
    assert "random_tiny.calibration.json" in log


def test_the_cameras_period_is_the_budget(graph):
    def whole_period():
        graph.show()
        found = figures(graph)
        if " of 100.0 ms" not in found.get("budget_from", ""):
            return None
        return (float(found["budget_ms"]) + float(found["overhead_ms"])) / 90 or None

    # 10 Hz at a headroom of 0.9: 90 ms, or a multiple where the machine is too slow for the first exit.
    periods = graph.wait_until(whole_period, "budget from the camera's period")
    assert periods == pytest.approx(round(periods), rel=0.03)
    status = graph.show().status
    assert 0 < status.budget_ms < 90.1 * round(periods)
    assert len(status.exit_thresholds) == 2


def test_milliseconds_move_thrift_and_exits(graph):
    change(graph, budget__mode="milliseconds", budget__milliseconds=1000.0)
    status = graph.wait_until(lambda: shown(graph, lambda status: status.thrift == 0), "thrift of 0")
    assert status.budget_ms == 1000
    assert status.exit_thresholds.tolist() == status.exit_thresholds_asked.tolist() == pytest.approx(TAUS)
    graph.wait_until(lambda: graph.show() and figures(graph)["budget_state"] == "IDLE", "IDLE in diagnostics")

    first_ms, _, last_ms = map(float, figures(graph)["exit_costs_ms"].split(", "))
    middle_ms = (first_ms + last_ms) / 2
    change(graph, budget__milliseconds=middle_ms)
    status = graph.show().status
    assert status.budget_ms == pytest.approx(middle_ms)
    assert 0 < status.slowdown < 1000

    change(graph, budget__milliseconds=0.1)
    status = graph.wait_until(lambda: shown(graph, lambda status: status.thrift == 1), "thrift of 1")
    assert status.budget_ms == pytest.approx(0.1)
    assert (status.exit_index, status.deadline_cut) == (1, False)
    graph.wait_until(lambda: graph.show() and "always exit 1" in graph.diagnostics["timing"].message, "word of it")
    assert graph.diagnostics["timing"].level == DiagnosticStatus.OK
    assert figures(graph)["budget_state"] == "INFEASIBLE"


def test_the_sliders_choose_the_exits_in_camera_mode(graph, monkeypatch):
    monkeypatch.setattr(graph, "frame_ns", 10_000_000_000)  # a slow camera leaves time for full depth
    change(graph, budget__mode="camera", exit__tau_1=1.0, exit__tau_2=1.0)
    graph.wait_until(lambda: shown(graph, lambda status: status.thrift == 0), "budget that does not limit")
    deep = [graph.show().status for _ in range(50)]
    change(graph, exit__tau_1=0.0)
    shallow = [graph.show().status for _ in range(50)]
    assert [status.exit_index for status in deep] == [3] * 50
    assert {status.decided_by for status in deep} == {TrackStatus.LAST_EXIT}
    assert [status.exit_index for status in shallow] == [1] * 50
    assert {status.decided_by for status in shallow} == {TrackStatus.QUALITY}
    change(graph, exit__tau_1=TAUS[0], exit__tau_2=TAUS[1])


def shown(graph, condition):
    """The status of another frame if the condition holds for it."""
    status = graph.show().status
    return status if condition(status) else None


def test_a_deadline_cuts_and_its_misses_are_counted(graph):
    change(graph, budget__mode="milliseconds", budget__milliseconds=1000.0, budget__deadline_ms=0.1, exit__tau_1=1.0)
    status = graph.wait_until(lambda: shown(graph, lambda status: status.deadline_cut), "frame that was cut")
    assert (status.exit_index, status.decided_by) == (1, TrackStatus.DEADLINE)
    graph.wait_until(lambda: graph.show() and int(figures(graph)["deadline_misses"]), "misses in diagnostics")
    change(graph, budget__deadline_ms=0.0, exit__tau_1=TAUS[0])
    assert not graph.show().status.deadline_cut


def test_unlimited_puts_the_sliders_in_force(graph):
    change(graph, budget__mode="rate")
    assert graph.show().status.budget_ms > 0
    change(graph, budget__mode="unlimited")
    status = graph.show().status
    assert status.exit_thresholds.tolist() == pytest.approx(TAUS)
    assert (status.budget_ms, status.thrift, status.deadline_cut) == (0, 0, False)
    change(graph, exit__policy="fixed", budget__mode="rate")
    status = graph.show().status
    assert (status.exit_index, status.budget_ms) == (3, 0)
    change(graph, exit__policy="thresholds")


def test_impossible_values_are_refused_with_what_is_allowed(graph):
    for name, values, allowed in [
        ("budget__rate_hz", (0.0, math.nan, 120.5), "0.5 to 120.0"),
        ("budget__milliseconds", (0.0, math.nan, 1e5), "0.1 to 1000.0"),
        ("budget__headroom", (0.0, math.nan, 1.1), "0.1 to 1.0"),
        ("budget__deadline_ms", (-1.0, math.nan), "0.0 to 1000.0"),
        ("budget__deadline_sigmas", (-1.0, math.nan), "0.0 to 10.0"),
        ("budget__mode", ("fast",), "camera, rate, milliseconds, unlimited"),
    ]:
        for value in values:
            accepted, reason = graph.set_parameters(NODE, **{name: value})
            assert not accepted
            assert name.replace("__", ".") in reason
            for word in allowed.split(" to "):
                assert word in reason
    change(graph, budget__mode="milliseconds", budget__milliseconds=50.0)
    assert graph.show().status.budget_ms == pytest.approx(50)
