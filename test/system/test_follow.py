"""The closed loop: a real tracker, target_pose, and a simulated robot that follows a walking target, in real time."""

import json
import os
import time
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from dytrack_ros.msg import TrackStatus

from dytrack_ros.nodes.demo.follow import FollowDemo, pose_errors
from dytrack_ros.nodes.messages import stamp_ns

SECONDS = 15
# The promise is 0.5 s; a machine that runs other jobs beside the tests is late for reasons of its own.
STOP_LIMIT_S = 0.5 if os.getloadavg()[0] < 1.5 * (os.cpu_count() or 1) else 3.0


@pytest.mark.timeout(240)
def test_a_robot_follows_and_stops_when_the_target_is_lost(graph, tmp_path):
    options = SimpleNamespace(seconds=SECONDS, rate=10.0, model="dytrack_small", engine="auto", out=str(tmp_path))
    demo = graph.host(partial(FollowDemo, options))
    graph.wait_until(lambda: demo.finished, "end of the run", patience_s=150)
    graph.processes.extend(demo.processes)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert demo.exit_code == 0, summary
    assert summary["seconds"] >= SECONDS
    assert summary["pose_error"]["median"] <= 0.03
    assert summary["clearance_m"] > 0.3
    assert summary["range_m"]["greatest"] < 4
    assert len(pose_errors(demo.records)) == summary["poses"]  # every stamp is that of an image
    assert np.ptp([message.pose.position.x for message in demo.records["robot_pose"]]) > 2
    assert cv2.imread(str(tmp_path / "follow.png")).shape[1] > 600

    speeds, states = demo.records["robot_velocity"], demo.records["status"]
    assert graph.set_parameters("robot_node", hide_target=True) == (True, "")
    graph.wait_until(lambda: states[-1].state == TrackStatus.LOST, "lost target")
    lost_s = time.monotonic()
    poses = demo.records["target_pose"]
    graph.wait_until(lambda: abs(speeds[-1].twist.linear.x) < 0.01, "robot that stands")
    stopped_after_s = time.monotonic() - lost_s
    print(f"stopped {stopped_after_s:.2f} s after LOST")
    assert stopped_after_s <= STOP_LIMIT_S
    assert stamp_ns(poses[-1].header) < stamp_ns(states[-1].header)
