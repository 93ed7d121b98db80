"""Bridge from clicks: a point in pixels becomes an `init` with a box of a fixed size around it."""

from __future__ import annotations

import math
import sys
from typing import Any

from geometry_msgs.msg import Point, PointStamped
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.faults import BAD_POINT, Faults
from dytrack_ros.nodes.messages import INIT_QOS, detection_message
from dytrack_ros.nodes.parameter_schema import LiveParameters, Parameter
from dytrack_ros.nodes.run import RunnableNode, run

PARAMETERS = (
    Parameter("width", 80.0, "Width of the box around the point, pixels.", 2.0, 10_000.0),
    Parameter("height", 80.0, "Height of the box around the point, pixels.", 2.0, 10_000.0),
)


class InitFromPoint(RunnableNode):
    """Subscribes to `point` (its stamp names the image, 0 the newest) and `click` (as rqt_image_view sends it)."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("init_from_point", **node_options)
        self._live = LiveParameters(self, PARAMETERS)
        self._faults = Faults(self.get_logger().warning, self.get_logger().error)
        self._init = self.create_publisher(Detection2D, "init", INIT_QOS)
        self.create_subscription(
            PointStamped, "point", lambda message: self._on_point(message.header, message.point), 10
        )
        self.create_subscription(Point, "click", lambda point: self._on_point(Header(), point), 10)
        self.get_logger().info(
            f"subscribes to {self.resolve_topic_name('point')} and {self.resolve_topic_name('click')}"
        )

    def _on_point(self, header: Header, point: Point) -> None:
        if not (math.isfinite(point.x) and math.isfinite(point.y)):
            self._faults.report(BAD_POINT, f"({point.x}, {point.y}) must be two finite numbers, pixels of the image")
            return
        width, height = self._live["width"], self._live["height"]
        box = point.x - width / 2, point.y - height / 2, width, height
        self._init.publish(detection_message(header, box))
        self.get_logger().info(f"init of {width:g}x{height:g} px around ({point.x:.0f}, {point.y:.0f})")


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run dytrack_ros init_from_point`; returns the exit code."""
    return run(InitFromPoint, args)


if __name__ == "__main__":
    sys.exit(main())
