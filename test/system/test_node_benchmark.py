"""benchmarks/node.py in short: every part on real processes. How fast the machine is does not matter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from metered_tracker import MeteredTracker
from square_sequences import write_sequences

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "node.py"
PATIENCE_S = 280
pytestmark = pytest.mark.timeout(PATIENCE_S + 20)  # each part starts several processes


@pytest.fixture
def measure(tmp_path, tiny_weights):
    """Runs a part with random weights; its results."""

    def run(part, *options):
        results = tmp_path / "node.json"
        # A domain that it chooses by itself: the graphs of other tests use the one of this environment.
        environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
        settings = ("--results", results, "--model", tiny_weights, "--engine", "torch", "--threads", 1)
        command = [sys.executable, PROGRAM, part, *map(str, (*settings, *options))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr[-5000:]
        return json.loads(results.read_text())[part]

    return run


def test_overhead(measure):
    (run,) = measure("overhead", "--sizes", "640x480", "--frames", 60)["runs"]
    assert run["frames"] > 0
    assert 0 < run["overhead_ms"]["p50"] <= run["overhead_ms"]["p95"]
    assert run["engine_ms"]["p50"] > 0 and run["arrival_ms"]["p50"] > 0


def test_images_are_delivered_with_the_profile_and_hardly_any_without(measure):
    runs = measure("delivery", "--sizes", "1280x720", "--frames", 90)["runs"]
    arrived = {run["profile"]: run["received"] / run["sent"] for run in runs}
    assert arrived["shipped"] >= 0.9
    assert arrived["none"] < 0.85 * arrived["shipped"], "how few arrive depends on the machine"


def test_start_with_an_empty_cache_and_with_a_filled_one(measure):
    runs = measure("startup", "--rounds", 1)["runs"]
    assert [run["cache"] for run in runs] == ["cold", "warm"]
    assert all(0.5 < run["ready_s"] and 0.5 < run["first_tracked_s"] for run in runs)


def test_cpu_time_at_the_default_thresholds_and_at_full_depth(measure, tmp_path):
    sequences = write_sequences(tmp_path / "sequences", {"slow": 1, "fast": 3}, 20)
    default, full = measure("cpu", "--sequences", sequences, "--rate", 10, "--unlimited")["runs"]
    for run in (default, full):
        assert run["frames"] > 0 and run["cpu_ms_per_frame"] > 0
        assert run["cpu_s_per_minute"] == pytest.approx(60 * 10 * run["cpu_ms_per_frame"] / 1e3)
    assert list(full["exits"]) == ["3"]


def test_soak(measure):
    """Eight seconds; a node that kept all images would grow by a fifth after the first three."""
    found = measure("soak", "--minutes", 0.13, "--warm-up", 0.05, "--sizes", "640x480")
    parameters = found["parameters"]
    assert (parameters["unanswered"], parameters["answered_wrongly"]) == (0, 0)
    assert parameters["calls"] >= 60
    assert found["targets"] >= 2 and found["frames"] > 0
    assert found["resident_spread"] < 0.08 and found["resident_mb"] > 50
    assert len({len(values) for values in found["series"].values()}) == 1


def test_the_meter_tells_every_call_to_the_engine(tiny_weights):
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    tracker = MeteredTracker.from_pretrained(tiny_weights, engine="torch", device="cpu", threads=1)
    tracker.initialize(image, (100, 80, 60, 60))
    for _ in range(3):
        result = tracker.track(image)
        assert len(result.stage_seconds) == result.exit_index + 2, "begin, every stage, and the box head"
        assert 0 < sum(result.stage_seconds) < result.seconds
