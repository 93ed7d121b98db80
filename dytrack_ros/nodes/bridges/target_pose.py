"""Bridge to followers: where the target is, from the tracker's box and a depth image or the target's known size.

Nothing is published without a range or while the target cannot be trusted: followers stop on silence.
"""

from __future__ import annotations

import struct
import sys
import time
from collections import deque
from typing import Any, NamedTuple

from geometry_msgs.msg import PoseStamped, TransformStamped, TwistStamped
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2D, Detection3D

from dytrack_ros.nodes.bridges import target_listener
from dytrack_ros.nodes.bridges.target_geometry import (
    CameraModel,
    Place,
    Sight,
    TargetDepth,
    VelocityFilter,
    depth_from_size,
    target_depth,
)
from dytrack_ros.nodes.bridges.target_listener import TargetListener
from dytrack_ros.nodes.faults import UNREADABLE_DEPTH
from dytrack_ros.nodes.images import UnreadableImageError
from dytrack_ros.nodes.messages import RESULT_QOS, box_of, image_qos, stamp_ns
from dytrack_ros.nodes.parameter_schema import Parameter
from dytrack_ros.nodes.run import run

_OWN_PARAMETERS = (
    Parameter(
        "use_depth", True, "Subscribe to depth; false: the range comes from target_size_m alone.", read_only=True
    ),
    Parameter(
        "target_size_m",
        (0.0, 0.0),
        "Known width and height of the target, m; 0: not known. Gives the range of frames without depth.",
    ),
    Parameter("tf_frame", "", "Publish the target as this frame on /tf, such as target; empty: do not."),
    Parameter("range.least_m", 0.1, "Least range that is believed, m.", 0.01, 100.0),
    Parameter("range.greatest_m", 50.0, "Greatest range that is believed, m.", 0.1, 10_000.0),
    Parameter("pairing.tolerance_s", 0.02, "Greatest time between image and depth image, s.", 0.0, 1.0),
    Parameter("filter.enabled", False, "Smooth the pose and publish target_velocity: a constant-velocity filter."),
    Parameter("filter.noise", 0.02, "Standard deviation of the measured range, as a share of it.", 0.001, 0.5),
    Parameter("filter.acceleration", 2.0, "Standard deviation of the target's acceleration, m/s^2.", 0.01, 100.0),
)
PARAMETERS = (*_OWN_PARAMETERS, *target_listener.PARAMETERS)

# What tf2's listeners expect on /tf.
TF_QOS = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=100)
# Without any depth image for this long, the known size is used at once.
DEPTH_SILENCE_S = 1.0
NO_RANGE = "no range: the depth has no cluster in the box, and target_size_m is not set or the box is cut"
NO_DEPTH = "no depth image of the same time, and target_size_m is not set or the box is cut"


class Target(NamedTuple):
    """A box that waits for its depth image."""

    detection: Detection2D
    camera: CameraModel
    sight: Sight


class DepthPairs:
    """Pairs targets with the depth image nearest in time, in either order of arrival.

    The newest depth images and targets are kept. Depth images stay serialised until they are needed.
    """

    KEPT_IMAGES, KEPT_TARGETS = 15, 10

    def __init__(self) -> None:
        self._images: deque[tuple[int, bytes]] = deque(maxlen=self.KEPT_IMAGES)
        self._targets: deque[Target] = deque()

    def drop_targets(self) -> None:
        self._targets.clear()

    def add_image(self, image: bytes) -> None:
        """Keep a serialised sensor_msgs/Image: header.stamp is its first field."""
        order = "<" if image[1] & 1 else ">"
        seconds, nanoseconds = struct.unpack_from(f"{order}iI", image, 4)
        self._images.append((seconds * 1_000_000_000 + nanoseconds, image))

    def add_target(self, target: Target) -> None:
        self._targets.append(target)

    def take(self, tolerance_ns: float, is_silent: bool) -> list[tuple[Target, bytes | None]]:
        """Return the targets that need not wait any longer, each with its depth image.

        It is None if a later image has come, if too many targets wait, or if the camera `is_silent`.
        """
        ready: list[tuple[Target, bytes | None]] = []
        for target in list(self._targets):
            stamp = stamp_ns(target.detection.header)
            nearest = min(self._images, key=lambda one: abs(one[0] - stamp), default=None)
            if nearest and abs(nearest[0] - stamp) <= tolerance_ns:
                ready.append((target, nearest[1]))
            elif is_silent or len(self._targets) > self.KEPT_TARGETS or any(one[0] > stamp for one in self._images):
                ready.append((target, None))
            else:
                continue
            self._targets.remove(target)
        return ready


class TargetPose(TargetListener):
    """Publishes `target_pose`, `target_detection3d`, with a filter `target_velocity`, and if asked a frame on /tf.

    All carry the header of the image: they are in the camera's optical frame, with identity orientation. The velocity
    is relative to the camera.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("target_pose", _OWN_PARAMETERS, **node_options)
        self._filter = VelocityFilter()
        self._depth_pairs = DepthPairs()
        self._depth_heard_s = time.monotonic()
        self._pose = self.create_publisher(PoseStamped, "target_pose", RESULT_QOS)
        self._detection3d = self.create_publisher(Detection3D, "target_detection3d", RESULT_QOS)
        self._velocity = self.create_publisher(TwistStamped, "target_velocity", RESULT_QOS)
        self._tf = self.create_publisher(TFMessage, "/tf", TF_QOS)
        if self._live["use_depth"]:
            overridable = QoSOverridingOptions.with_default_policies()
            self.create_subscription(
                Image, "depth", self._on_depth, image_qos(), raw=True, qos_overriding_options=overridable
            )
        elif max(self._live["target_size_m"]) <= 0:
            self.get_logger().warning("without depth there is no range until target_size_m is set")

    def _is_read(self) -> bool:
        publishers = [self._pose, self._detection3d, self._velocity, *([self._tf] if self._live["tf_frame"] else [])]
        return any(publisher.get_subscription_count() for publisher in publishers)

    def _on_loss(self) -> None:
        self._filter.reset()
        self._depth_pairs.drop_targets()

    def _on_depth(self, image: bytes) -> None:
        self._depth_heard_s = time.monotonic()
        if self._is_read():
            self._depth_pairs.add_image(image)
            self._answer_ready()

    def _on_target(self, detection: Detection2D, camera: CameraModel, sight: Sight) -> None:
        target = Target(detection, camera, sight)
        if not self._live["use_depth"]:
            self._locate(target, None)
            return
        self._depth_pairs.add_target(target)
        self._answer_ready()

    def _answer_ready(self) -> None:
        has_size = max(self._live["target_size_m"]) > 0
        is_silent = has_size and time.monotonic() - self._depth_heard_s > DEPTH_SILENCE_S
        for target, image in self._depth_pairs.take(self._live["pairing.tolerance_s"] * 1e9, is_silent):
            self._locate(target, image)

    def _locate(self, target: Target, image: bytes | None) -> None:
        """Find the range of a target and publish where it is, or say why not."""
        camera, sight, box = target.camera, target.sight, box_of(target.detection)
        limits = self._live["range.least_m"], self._live["range.greatest_m"]
        depth, origin = self._read_depth(image, target, limits), "depth"
        if depth is None:
            z = depth_from_size(camera, box, sight, self._live["target_size_m"])
            if z is None or not limits[0] <= z <= limits[1]:
                self._silent(NO_DEPTH if image is None else NO_RANGE)
                return
            depth, origin = TargetDepth(z, min(sight.width, sight.height) * z), "size"
        z = depth.median
        self._publish(target, (sight.x * z, sight.y * z, z), depth)
        self._published(f"{z:.2f} m by {origin}")

    def _read_depth(self, image: bytes | None, target: Target, limits: tuple[float, float]) -> TargetDepth | None:
        if image is None:
            return None
        try:
            message = deserialize_message(image, Image)
            return target_depth(message, box_of(target.detection), target.camera, limits)
        except UnreadableImageError as error:
            self._faults.report(UNREADABLE_DEPTH, str(error))
            return None

    def _publish(self, target: Target, place: Place, depth: TargetDepth) -> None:
        header = target.detection.header
        if self._live["filter.enabled"]:
            noise_m = self._live["filter.noise"] * place[2]
            time_s = stamp_ns(header) * 1e-9 or time.monotonic()
            place, velocity = self._filter.update(place, time_s, noise_m, self._live["filter.acceleration"])
            twist = TwistStamped(header=header)
            twist.twist.linear.x, twist.twist.linear.y, twist.twist.linear.z = velocity
            self._velocity.publish(twist)
        pose = PoseStamped(header=header)
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = place
        self._pose.publish(pose)
        if self._detection3d.get_subscription_count():
            self._detection3d.publish(_detection3d(target, pose, depth))
        if self._live["tf_frame"] and header.frame_id:
            transform = TransformStamped(header=header, child_frame_id=self._live["tf_frame"])
            translation = transform.transform.translation
            translation.x, translation.y, translation.z = place
            self._tf.publish(TFMessage(transforms=[transform]))


def _detection3d(target: Target, pose: PoseStamped, depth: TargetDepth) -> Detection3D:
    """Make the box in space: as wide and high as the box in the image at its range, as deep as its visible part."""
    message = Detection3D(header=pose.header, id=target.detection.id, results=target.detection.results)
    for result in message.results:
        result.pose.pose = pose.pose
    message.bbox.center = pose.pose
    size = message.bbox.size
    size.x, size.y, size.z = target.sight.width * depth.median, target.sight.height * depth.median, depth.extent
    return message


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run dytrack_ros target_pose`; returns the exit code."""
    return run(TargetPose, args)


if __name__ == "__main__":
    sys.exit(main())
