"""`make demo SCENE=follow`: a simulated robot follows a walking target by `target_pose`; draws the path from above."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from matplotlib.patches import Circle, Rectangle
from std_msgs.msg import Header

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes.demo.node_process import NodeProcess
from dytrack_ros.nodes.demo.robot_world import PILLARS, ROOM, clearance
from dytrack_ros.nodes.messages import stamp_ns
from dytrack_ros.nodes.run import RunnableNode
from dytrack_ros.tracking import TrackState

DEFAULT_SECONDS, DEFAULT_RATE_HZ = 60.0, 10.0
DISTANCE_M = 1.5
_SPEED_GAIN, _TURN_GAIN = 1.5, 2.0
# A pose older than this is none any more: the robot stops.
SILENCE_LIMIT_S = 0.2
_CONTROL_PERIOD_S = 0.025
# The target counts as kept if it was TRACKING or UNCERTAIN in this share of the frames, and to the end.
_LEAST_KEPT = 0.98


def steering(x: float, z: float) -> tuple[float, float]:
    """Return the speed and the turn, m/s and rad/s, towards DISTANCE_M from a target at x (right) and z (ahead), m."""
    yaw = math.atan2(-x, z)
    return _SPEED_GAIN * (math.hypot(x, z) - DISTANCE_M) * max(0.0, math.cos(yaw)), _TURN_GAIN * yaw


class FollowDemo(RunnableNode):
    """Runs tracker, target_pose and the robot as processes; steers the robot, and records what happens.

    The robot stops as soon as `target_pose` is silent.

    Attributes:
        records: by name of the topic, the messages in order.
        exit_code: 0 if the target was kept to the end and nothing was touched.
    """

    def __init__(self, options: argparse.Namespace, **node_options: Any) -> None:
        super().__init__("follow_demo", **node_options)
        self.exit_code = 1
        self._seconds = options.seconds or DEFAULT_SECONDS
        self._out = Path(options.out)
        self._out.mkdir(parents=True, exist_ok=True)
        self._programs = {
            "tracker_node": {"model": options.model, "engine": options.engine},
            "target_pose": {},
            "robot_node": {"rate_hz": options.rate or DEFAULT_RATE_HZ},
        }
        self.processes: list[NodeProcess] = []
        self.records: dict[str, list[Any]] = {"status": [], "target_pose": []}
        self._pose_heard_s = -math.inf
        self._is_stopped = True
        self._command = self.create_publisher(TwistStamped, "cmd_vel", 10)
        self.create_subscription(TrackStatus, "status", self.records["status"].append, 50)
        for topic, kind in (
            ("robot_pose", PoseStamped),
            ("walker_pose", PoseStamped),
            ("target_truth", PoseStamped),
            ("robot_velocity", TwistStamped),
        ):
            self.records[topic] = []
            self.create_subscription(kind, topic, self.records[topic].append, 50)
        self.create_subscription(PoseStamped, "target_pose", self._on_pose, 50)
        self.create_timer(_CONTROL_PERIOD_S, self._watch)

    def close(self) -> None:
        for process in self.processes:
            process.stop()

    def _on_pose(self, message: PoseStamped) -> None:
        self.records["target_pose"].append(message)
        self._pose_heard_s = time.monotonic()
        self._is_stopped = False
        command = TwistStamped(header=Header(stamp=message.header.stamp, frame_id="base_link"))
        position = message.pose.position
        command.twist.linear.x, command.twist.angular.z = steering(position.x, position.z)
        self._command.publish(command)

    def _watch(self) -> None:
        if not self.processes:
            print(f"a robot follows for {self._seconds:g} s; loading the tracker ...", flush=True)
            for name, parameters in self._programs.items():
                self.processes.append(NodeProcess(name, parameters, self._out / f"{name}.log"))
        if not self._is_stopped and time.monotonic() - self._pose_heard_s > SILENCE_LIMIT_S:
            self._is_stopped = True
            self._command.publish(TwistStamped())
        ended = [process for process in self.processes if process.exit_code is not None]
        if ended:
            last_line = (ended[0].output.splitlines() or ["no output"])[-1]
            print(f"demo failed: {ended[0].name} ended: {last_line}", file=sys.stderr)
            self.finished = True
        elif not self.finished and _elapsed_s(self.records["robot_pose"]) >= self._seconds:
            self._finish()

    def _finish(self) -> None:
        self.finished = True
        summary = summarize(self.records)
        (self._out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        draw(self.records, self._out / "follow.png")
        print(sentence(summary), f"written: {self._out}/follow.png, summary.json", sep="\n", flush=True)
        self.exit_code = 0 if summary["kept"] and summary["clearance_m"] > 0 else 1
        if self.exit_code:
            print("demo failed: the target was not kept, or the robot hit something", file=sys.stderr)


def _elapsed_s(messages: list[Any]) -> float:
    return (stamp_ns(messages[-1].header) - stamp_ns(messages[0].header)) * 1e-9 if messages else 0.0


def _places(messages: list[Any]) -> np.ndarray:
    """Return the positions of PoseStamped messages, Nx3."""
    positions = [message.pose.position for message in messages]
    return np.array([(position.x, position.y, position.z) for position in positions]).reshape(-1, 3)


def pose_errors(records: dict[str, list[Any]]) -> np.ndarray:
    """Return the distance of each pose from the truth at its stamp, as a share of the true range."""
    truth = {stamp_ns(message.header): message for message in records["target_truth"]}
    pairs = [(pose, truth[stamp_ns(pose.header)]) for pose in records["target_pose"] if stamp_ns(pose.header) in truth]
    found, true = _places([pose for pose, _ in pairs]), _places([pose for _, pose in pairs])
    return np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)


def summarize(records: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the figures of a run: seconds, rates, ranges in metres and errors as shares of the range."""
    states = [status.state for status in records["status"] if status.target_id]
    followed = [state in (TrackState.TRACKING, TrackState.UNCERTAIN) for state in states]
    ranges = np.linalg.norm(_places(records["target_truth"])[:, ::2], axis=1)
    errors = pose_errors(records)
    return {
        "seconds": round(_elapsed_s(records["robot_pose"]), 1),
        "images": len(records["target_truth"]),
        "followed_frames": sum(followed),
        "poses": len(records["target_pose"]),
        "pose_error": {"median": _rounded(np.median(errors)), "p95": _rounded(np.percentile(errors, 95))},
        "range_m": {"least": _rounded(ranges.min()), "greatest": _rounded(ranges.max())},
        "clearance_m": _rounded(min(clearance(x, y) for x, y, _ in _places(records["robot_pose"]))),
        "kept": bool(followed and followed[-1] and np.mean(followed) >= _LEAST_KEPT),
    }


def _rounded(value: float) -> float:
    return round(float(value), 4)


def sentence(summary: dict[str, Any]) -> str:
    """Return a summary as one line."""
    return (
        f"{summary['seconds']:.0f} s, {summary['images']} images, {summary['poses']} poses with a median error of "
        f"{summary['pose_error']['median']:.1%} of the range; {summary['range_m']['least']:.1f} to "
        f"{summary['range_m']['greatest']:.1f} m behind the target, at least {summary['clearance_m']:.2f} m from "
        f"pillars and walls; the target was {'kept' if summary['kept'] else 'lost'}"
    )


def draw(records: dict[str, list[Any]], path: Path) -> None:
    """Draw the paths of robot and target as seen from above, and the range over time, true and as published."""
    figure = matplotlib.figure.Figure(figsize=(9, 6.2), layout="constrained", facecolor="white")
    above, over_time = figure.subplots(2, 1, height_ratios=[3, 1])
    above.add_patch(Rectangle((-ROOM[0] / 2, -ROOM[1] / 2), *ROOM, fill=False, linewidth=3, color="0.4"))
    for x, y, radius in PILLARS:
        above.add_patch(Circle((x, y), radius, color="0.6"))
    robot, walker = _places(records["robot_pose"]), _places(records["walker_pose"])
    for places, colour, name in ((walker, "#d55e00", "target"), (robot, "#0072b2", "robot")):
        above.plot(places[:, 0], places[:, 1], color=colour, label=name)
        above.plot(*places[0, :2], "o", color=colour, markersize=7)
    shared = min(len(robot), len(walker))
    for index in range(0, shared, 20):
        above.plot(*np.stack([robot[index], walker[index]])[:, :2].T, color="0.75", linewidth=0.8, zorder=0)
    above.set(
        aspect="equal", xlabel="x, m", ylabel="y, m", title="seen from above; dots: start; grey: every 20th image"
    )
    above.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    start_ns = stamp_ns(records["target_truth"][0].header)
    for topic, style, name in (("target_truth", "k-", "true"), ("target_pose", ".", "target_pose")):
        times = [(stamp_ns(message.header) - start_ns) * 1e-9 for message in records[topic]]
        over_time.plot(times, np.linalg.norm(_places(records[topic])[:, ::2], axis=1), style, label=name, markersize=3)
    over_time.set(xlabel="time, s", ylabel="range, m")
    over_time.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(path, dpi=100)
