"""Hands over from any detector: `detections` in, `init` out while the tracker has no target.

The init carries the detections' stamp, so the tracker starts on the very image that the detector saw and catches up; how
long the detector took does not matter as long as the tracker still keeps that image (its `catch_up.seconds`).
"""

from __future__ import annotations

import sys
import time

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from vision_msgs.msg import Detection2D, Detection2DArray

from dytrack_ros.msg import TrackStatus
from dytrack_ros.nodes.bridges.bridge_parameters import INIT_FROM_DETECTIONS
from dytrack_ros.nodes.bridges.detection_choice import NEAREST_CENTRE, Candidate, Handover, Point, candidate, choose
from dytrack_ros.nodes.faults import BAD_DETECTION, NO_PICTURE_SIZE, Faults
from dytrack_ros.nodes.follower import MAX_NAME_LENGTH
from dytrack_ros.nodes.live_parameters import LiveParameters
from dytrack_ros.nodes.messages import INIT_QOS, box_of, detection_message, stamp_ns
from dytrack_ros.nodes.run import run

# Best effort hears every detector; one array less does no harm, the next is as good.
HEARD_QOS = QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5)
_MOST_CLASSES_NAMED = 10


class InitFromDetections(Node):
    """Listens to `detections`, the tracker's `status` and `detection`, and `camera_info`; publishes `init`.

    The init's `id` is the detection's, or its class where that is empty.
    """

    def __init__(self, **node_options) -> None:
        super().__init__("init_from_detections", **node_options)
        self._live = LiveParameters(self, INIT_FROM_DETECTIONS)
        self._live.on_change(self._on_new_parameters)
        self._faults = Faults(self.get_logger().warning, self.get_logger().error)
        self._handover = Handover()
        self._picture_size = (0, 0)
        self._last_target: Point | None = None
        self._has_named_classes = False
        self._init = self.create_publisher(Detection2D, "init", INIT_QOS)
        self.create_subscription(TrackStatus, "status", self._on_status, HEARD_QOS)
        self.create_subscription(Detection2D, "detection", self._on_target, HEARD_QOS)
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, HEARD_QOS)
        self.create_subscription(Detection2DArray, "detections", self._on_detections, HEARD_QOS)
        wanted = f"'{self._live['class_id']}'" if self._live["class_id"] else "any class"
        self.get_logger().info(
            f"hands {wanted} over from {self.resolve_topic_name('detections')} to {self.resolve_topic_name('init')}"
        )

    def _on_new_parameters(self) -> None:
        self._has_named_classes = False

    def _on_status(self, message: TrackStatus) -> None:
        self._handover.heard(message.state, time.monotonic())

    def _on_target(self, message: Detection2D) -> None:
        position = message.bbox.center.position
        self._last_target = position.x, position.y

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._picture_size = message.width, message.height

    def _on_detections(self, message: Detection2DArray) -> None:
        if not self._live["enabled"] or not self._handover.is_due(time.monotonic(), self._live["holdoff_s"]):
            return
        candidates, how = self._candidates(message), self._live["choose"]
        if not candidates:
            return
        centre = self._picture_centre()
        if centre is None and how == NEAREST_CENTRE:
            self._faults.report(
                NO_PICTURE_SIZE,
                f"choose is {NEAREST_CENTRE}, but no size has come on {self.resolve_topic_name('camera_info')}; "
                "remap that, or set picture.width and picture.height",
            )
            return
        self._hand_over(message, choose(candidates, how, centre, self._last_target))

    def _candidates(self, message: Detection2DArray) -> list[Candidate]:
        candidates = []
        for detection in message.detections:
            hypotheses = [result.hypothesis for result in detection.results]
            try:
                one = candidate(box_of(detection), hypotheses, self._live["class_id"], detection.id)
            except ValueError as error:
                self._faults.report(BAD_DETECTION, f"{error}; it is passed over")
                continue
            if one:
                candidates.append(one)
        if message.detections and not candidates:
            self._name_classes(message)
        return [one for one in candidates if one.score >= self._live["min_score"]]

    def _name_classes(self, message: Detection2DArray) -> None:
        """Say once what the detector sees instead: a class name with a typing error would wait for ever."""
        names = {result.hypothesis.class_id for detection in message.detections for result in detection.results}
        if names and self._live["class_id"] and not self._has_named_classes:
            self._has_named_classes = True
            shown = ", ".join(repr(name[:40]) for name in sorted(names)[:_MOST_CLASSES_NAMED])
            self.get_logger().info(f"no '{self._live['class_id']}' yet (class_id); the detector sees {shown}")

    def _picture_centre(self) -> Point | None:
        width = self._live["picture.width"] or self._picture_size[0]
        height = self._live["picture.height"] or self._picture_size[1]
        return (width / 2, height / 2) if width and height else None

    def _hand_over(self, message: Detection2DArray, chosen: Candidate) -> None:
        name = (chosen.id or chosen.class_id)[:MAX_NAME_LENGTH]
        self._init.publish(detection_message(message.header, chosen.box, chosen.score, name))
        self._handover.sent(time.monotonic())
        x, y, width, height = chosen.box
        self.get_logger().info(
            f"init of '{name}', score {chosen.score:.2f}, {width:.0f}x{height:.0f} px at ({x:.0f}, {y:.0f}), "
            f"on the image stamped {stamp_ns(message.header) * 1e-9:.3f} s"
        )


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run dytrack_ros init_from_detections`; returns the exit code."""
    return run(InitFromDetections, args)


if __name__ == "__main__":
    sys.exit(main())
