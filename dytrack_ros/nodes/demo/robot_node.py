"""A simulated robot for trials of following: it publishes a camera with depth, and obeys `cmd_vel`."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes import images
from dytrack_ros.nodes.demo.camera_node import IMAGE_QOS
from dytrack_ros.nodes.demo.robot_world import COMMAND_TIMEOUT_S, RobotWorld, View
from dytrack_ros.nodes.messages import INIT_QOS, detection_message, stamp_ns
from dytrack_ros.nodes.parameter_schema import LiveParameters, Parameter
from dytrack_ros.nodes.run import RunnableNode, run

PARAMETERS = (
    Parameter("rate_hz", 10.0, "Images a second.", 1.0, 40.0, read_only=True),
    Parameter(
        "width", 480, "Width of the images, pixels; the depth images are half as large.", 64, 1920, read_only=True
    ),
    Parameter("height", 360, "Height of the images, pixels.", 64, 1080, read_only=True),
    Parameter("seed", 0, "Textures and noise follow from this number.", 0, 2**31 - 1, read_only=True),
    Parameter("latency_s", 0.15, "Time from an image's stamp to the motion that it causes, s.", 0.0, 1.0),
    Parameter("depth.noise", 0.01, "Standard deviation of the depth, as a share of it.", 0.0, 0.2),
    Parameter("depth.holes", 0.2, "Share of the depth image without depth.", 0.0, 1.0),
    Parameter("hide_target", False, "Take the target away."),
)
# The world moves in steps of this length, s.
_STEP_S = 0.025
# A subscriber that this node has discovered may not have discovered this node yet.
_SETTLING_S = 0.5


class RobotNode(RunnableNode):
    """Publishes `image`, `depth` and `camera_info`, the target's box in one of the first as `init`, and the truth.

    The truth: `robot_pose` and `walker_pose` in the frame `world`, `robot_velocity`, and `target_truth`, the target's
    place in the camera's optical frame. The world starts once `image`, `depth`, `init` and
    `target_truth` are read.

    A command on `cmd_vel` carries the stamp of the image that it answers; it acts `latency_s` after that, or at once if
    its stamp is 0. Without commands the robot stops.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("robot_node", **node_options)
        self._live = LiveParameters(self, PARAMETERS)
        self._world = RobotWorld(self._live["width"], self._live["height"], self._live["seed"])
        self._random = np.random.default_rng(self._live["seed"])
        self._commands: list[tuple[float, TwistStamped]] = []
        self._command, self._commanded_s = TwistStamped(), -math.inf
        self._subscribed_since_s: float | None = None
        self._last_step_s: float | None = None
        self._next_image_s = 0.0
        self._has_sent_init = False
        self._image = self.create_publisher(Image, "image", IMAGE_QOS)
        self._depth = self.create_publisher(Image, "depth", IMAGE_QOS)
        self._camera_info = self.create_publisher(CameraInfo, "camera_info", IMAGE_QOS)
        self._init = self.create_publisher(Detection2D, "init", INIT_QOS)
        self._poses = {name: self.create_publisher(PoseStamped, name, 10) for name in ("robot_pose", "walker_pose")}
        self._truth = self.create_publisher(PoseStamped, "target_truth", 10)
        self._velocity = self.create_publisher(TwistStamped, "robot_velocity", 10)
        self.create_subscription(TwistStamped, "cmd_vel", self._on_command, 10)
        self.create_timer(_STEP_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_command(self, message: TwistStamped) -> None:
        now_ns = self.get_clock().now().nanoseconds
        age_s = (now_ns - stamp_ns(message.header)) * 1e-9 if stamp_ns(message.header) else math.inf
        wait_s = max(self._live["latency_s"] - age_s, 0.0)
        if not wait_s:
            self._commands.clear()  # a command that acts at once, such as a stop, replaces those under way
        self._commands.append((time.monotonic() + wait_s, message))

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self._last_step_s is None:
            if not self._is_heard(now_s):
                return
            self._last_step_s = self._next_image_s = now_s
        while self._commands and self._commands[0][0] <= now_s:
            self._command, self._commanded_s = self._commands.pop(0)[1], now_s
        if now_s - self._commanded_s > COMMAND_TIMEOUT_S:
            self._command = TwistStamped()
        self._world.hidden = self._live["hide_target"]
        twist = self._command.twist
        self._world.step(now_s - self._last_step_s, twist.linear.x, twist.angular.z)
        self._last_step_s = now_s
        velocity = TwistStamped(header=Header(stamp=self.get_clock().now().to_msg(), frame_id="base_link"))
        velocity.twist.linear.x, velocity.twist.angular.z = self._world.speed, self._world.turn
        self._velocity.publish(velocity)
        if now_s >= self._next_image_s:
            self._next_image_s = max(self._next_image_s + 1 / self._live["rate_hz"], now_s)
            self._publish()

    def _is_heard(self, now_s: float) -> bool:
        if not all(one.get_subscription_count() for one in (self._image, self._depth, self._init, self._truth)):
            self._subscribed_since_s = None
        elif self._subscribed_since_s is None:
            self._subscribed_since_s = now_s
        return self._subscribed_since_s is not None and now_s - self._subscribed_since_s > _SETTLING_S

    def _publish(self) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id="camera")
        view = self._world.view()
        message = Image(header=header)
        images.fill_image(message, view.image)
        self._image.publish(message)
        self._publish_depth(header, view)
        world, focal = self._world, self._world.focal_px
        info = CameraInfo(header=header, width=world.width, height=world.height, distortion_model="plumb_bob")
        # In these coordinates whole numbers are pixel centres.
        middle = world.width / 2 - 0.5, world.height / 2 - 0.5
        info.k = [focal, 0.0, middle[0], 0.0, focal, middle[1], 0.0, 0.0, 1.0]
        info.p = [focal, 0.0, middle[0], 0.0, 0.0, focal, middle[1], 0.0, 0.0, 0.0, 1.0, 0.0]
        info.d = [0.0] * 5
        self._camera_info.publish(info)
        if view.box and not self._has_sent_init:
            self._has_sent_init = True
            self._init.publish(detection_message(header, view.box, target_id="walker"))
        truth = PoseStamped(header=header)
        truth.pose.position.x, truth.pose.position.y, truth.pose.position.z = view.place
        self._truth.publish(truth)
        for name, (x, y) in (("robot_pose", world.robot[:2]), ("walker_pose", world.target)):
            pose = PoseStamped(header=Header(stamp=header.stamp, frame_id="world"))
            pose.pose.position.x, pose.pose.position.y = float(x), float(y)
            self._poses[name].publish(pose)

    def _publish_depth(self, header: Header, view: View) -> None:
        depth = view.depth[::2, ::2] * self._random.normal(1, self._live["depth.noise"], view.depth[::2, ::2].shape)
        depth[self._random.random(depth.shape) < self._live["depth.holes"]] = 0
        message = Image(header=header, encoding="16UC1", height=depth.shape[0], width=depth.shape[1])
        message.step = 2 * depth.shape[1]
        message.data.frombytes((depth * 1000).clip(0, 65535).astype("<u2").tobytes())
        self._depth.publish(message)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run dytrack_ros robot_node`; returns the exit code."""
    return run(RobotNode, args)


if __name__ == "__main__":
    sys.exit(main())
