"""Bridge to gimbals: the angles between the camera's optical axis and the target."""

from __future__ import annotations

import math
import sys
from typing import Any

from geometry_msgs.msg import Vector3Stamped
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.bridges import target_listener
from dytrack_ros.nodes.bridges.target_geometry import CameraModel, Sight
from dytrack_ros.nodes.bridges.target_listener import TargetListener
from dytrack_ros.nodes.messages import RESULT_QOS
from dytrack_ros.nodes.run import run

PARAMETERS = target_listener.PARAMETERS


class TargetBearing(TargetListener):
    """Publishes `target_bearing` with the header of the image: x is the yaw, y the pitch of the box's centre, radians.

    Yaw is positive to the right and pitch upwards, as in MAVLink's gimbal messages. z is 0.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("target_bearing", (), **node_options)
        self._bearing = self.create_publisher(Vector3Stamped, "target_bearing", RESULT_QOS)

    def _is_read(self) -> bool:
        return self._bearing.get_subscription_count() > 0

    def _on_target(self, detection: Detection2D, camera: CameraModel, sight: Sight) -> None:
        message = Vector3Stamped(header=detection.header)
        yaw, pitch = message.vector.x, message.vector.y = sight.bearing
        self._bearing.publish(message)
        self._published(f"yaw {math.degrees(yaw):.1f}, pitch {math.degrees(pitch):.1f} degrees")


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run dytrack_ros target_bearing`; returns the exit code."""
    return run(TargetBearing, args)


if __name__ == "__main__":
    sys.exit(main())
