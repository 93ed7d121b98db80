"""benchmarks/node.py in short: every part on real processes. How fast the machine is does not matter."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import node_report
import numpy as np
import pytest
import rclpy
from node_programs import STAND_IN, MeteredTracker
from node_soak import robust_slope, verdict
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from dytrack_ros.nodes import tracker_node
from dytrack_ros.nodes.follower import Outcome
from dytrack_ros.nodes.frame_buffers import Frame
from dytrack_ros.tracking import TrackState

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "node.py"
PATIENCE_S = 280
pytestmark = pytest.mark.timeout(PATIENCE_S + 20)  # each part starts several processes
NOISE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


@pytest.fixture
def measure(tmp_path):
    """Runs a part; its results, after its table has been made of them."""

    def run(part, *options):
        results = tmp_path / "node.json"
        # A domain that it chooses by itself: the graphs of other tests use the one of this environment.
        environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
        command = [sys.executable, PROGRAM, part, "--results", results, *map(str, options)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-5000:]
        found = json.loads(results.read_text())
        assert 0 <= found[part]["use"]["busy_cores_of_others"] <= os.cpu_count() + 0.1
        assert node_report.tables(found).count("\n|") > 2
        return found[part]

    return run


# ---- the parts


def test_overhead(measure):
    options = ("--sizes", "1280x720", "--encodings", "rgb8", "--frames", 20, "--rounds", 1)
    (run,) = measure("overhead", "--model", STAND_IN, *options)["runs"]
    assert run["frames"] > 0
    assert run["engine_ms"]["p50"] < run["overhead_ms"]["p50"] < 1000
    assert run["overhead_ms"]["p50"] <= run["overhead_ms"]["p95"]
    assert run["arrival_ms"]["p50"] > 0


def test_overlay_watched_and_not(measure):
    options = ("--model", STAND_IN, "--sizes", "640x480", "--frames", 50, "--rate", 10)
    (run,) = measure("overlay", *options)["runs"]
    assert run["turns"] >= 1
    assert run["pictures"] > 0
    for kind in ("nobody_ms", "watched_ms"):
        assert 0 < run[kind]["p50"] <= run[kind]["p95"]
    assert run["difference_ms"]["p25"] <= run["difference_ms"]["p50"] <= run["difference_ms"]["p75"]


def test_images_are_delivered_with_the_profile_and_hardly_any_without(measure):
    runs = measure("delivery", "--frames", 90, "--rounds", 1)["runs"]
    arrived = {run["profile"]: run["received"] / run["sent"] for run in runs}
    assert {run["sent"] for run in runs} == {90}
    assert arrived["shipped"] >= 0.9
    assert arrived["none"] < 0.85 * arrived["shipped"], "how few arrive depends on the machine"


def test_start_with_an_empty_cache_and_with_a_filled_one(measure, tiny_weights):
    runs = measure("startup", "--model", tiny_weights, "--threads", 1, "--rounds", 1)["runs"]
    assert [run["cache"] for run in runs] == ["cold", "warm"]
    for run in runs:
        assert 0 < run["ready_s"] <= run["first_tracked_s"]
        assert 0 < run["first_box_s"] <= run["first_tracked_s"]


def test_soak(measure, tiny_weights, tmp_path):
    """Eight seconds; a node that kept all images would grow by a fifth after the first three."""
    options = ("--minutes", 0.13, "--warm-up", 0.05, "--sizes", "640x480")
    found = measure("soak", "--model", tiny_weights, "--engine", "torch", "--threads", 1, *options)
    parameters = found["parameters"]
    assert (parameters["unanswered"], parameters["answered_wrongly"]) == (0, 0)
    assert parameters["calls"] >= 60
    assert found["targets"] >= 2
    assert found["frames"] > 0
    assert found["verdict"]["resident_spread"] < 0.08
    assert found["verdict"]["resident_mb"] > 50

    pytest.importorskip("matplotlib", reason="the figure needs matplotlib")
    node_report.draw({"soak": found}, tmp_path)
    assert (tmp_path / "node_soak.png").stat().st_size > 10_000


# ---- what the figures are made of


def test_the_meter_tells_every_call_to_the_engine(tiny_weights):
    tracker = MeteredTracker.from_pretrained(tiny_weights, engine="torch", device="cpu", threads=1)
    tracker.initialize(NOISE, (100, 80, 60, 60))
    for _ in range(3):
        result = tracker.track(NOISE)
        assert len(result.stage_seconds) == result.exit_index + 1, "every stage, and the box head"
        assert all(seconds > 0 for seconds in result.stage_seconds)
        assert sum(result.stage_seconds) < result.seconds


def test_latency_counts_until_the_box_is_out(monkeypatch):
    """Otherwise the overhead that is measured would leave out the publication."""
    monkeypatch.setattr(tracker_node, "DyTracker", MeteredTracker)
    rclpy.init(domain_id=93)
    try:
        node = tracker_node.TrackerNode(parameter_overrides=[Parameter("model", value=STAND_IN)])
        said = []
        monkeypatch.setattr(node._detection, "publish", lambda message: time.sleep(0.2))
        monkeypatch.setattr(node._status, "publish", said.append)
        frame = Frame(1, 0, time.monotonic(), Image())
        node._publish(Outcome(frame, NOISE, TrackState.TRACKING, "cup", (1, 2, 3, 4), 0.9), 0)
        node.close()
        node.destroy_node()
    finally:
        rclpy.shutdown()
    assert said[0].latency_ms >= 200


def test_a_robust_slope_is_not_moved_by_a_few_wild_points():
    x = np.arange(50.0)
    y = 3 * x + np.random.default_rng(0).normal(0, 0.1, 50)
    y[[5, 20, 44]] += 1000
    assert robust_slope(x, y) == pytest.approx(3, rel=0.01)
    with pytest.raises(ValueError, match="two points"):
        robust_slope(x[:1], y[:1])


def test_a_leak_is_seen_and_the_warm_up_is_not():
    seconds = list(np.arange(5.0, 600.0, 10.0))
    settled = [300.0 if at < 60 else 500.0 for at in seconds]
    leaking = [500.0 + 0.1 * at for at in seconds]
    flat, grown = (
        verdict({"seconds": seconds, "resident_all_mb": resident, "latency_p50_ms": resident}, 60)
        for resident in (settled, leaking)
    )
    assert flat == {"resident_mb": 500, "resident_spread": 0, "growth": {"resident_all": 0, "latency_p50": 0}}
    assert grown["resident_spread"] == pytest.approx(53 / 533, rel=0.02)
    assert grown["growth"]["resident_all"] == pytest.approx(53 / 533, rel=0.02)
