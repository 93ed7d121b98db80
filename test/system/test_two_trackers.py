"""Two trackers at once, told apart by their namespaces: as two nodes of one process, and as two processes."""

import itertools

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from dytrack_ros.msg import TrackStatus
from panel_graph import SETTINGS
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.images import fill_image
from dytrack_ros.nodes.messages import box_of, detection_message
from dytrack_ros.nodes.tracker_node import TrackerNode


class Side:
    """A camera of its own, the tracker in the same namespace, and all that the tracker says."""

    def __init__(self, graph, namespace, width, height, box):
        self._graph, self._box, self.width, self.height = graph, box, width, height
        self._picture = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        self.namespace, self.node = namespace, f"{namespace}/tracker_node"
        self.statuses, self.detections = {}, {}
        self._images = graph.client.create_publisher(Image, f"{namespace}/image", 10)
        self._inits = graph.client.create_publisher(Detection2D, f"{namespace}/init", 10)
        graph.listen(TrackStatus, f"{namespace}/status", self.statuses)
        graph.listen(Detection2D, f"{namespace}/detection", self.detections)

    def show(self, condition=lambda status: True):
        """New images, until one is answered by a status for which `condition` holds; that status and its detection."""
        before = self._graph.newest_stamp
        calls = itertools.count()

        def answered():
            if next(calls) % 10 == 0:
                self.send_image()
            return [stamp for stamp, status in self.statuses.items() if stamp > before and condition(status)]

        stamp = self._graph.wait_until(answered, f"answer in {self.namespace}")[-1]
        status = self.statuses[stamp]
        if status.state == TrackStatus.IDLE:
            return status, None
        return status, self._graph.wait_until(lambda: self.detections.get(stamp), f"detection in {self.namespace}")

    def send_image(self):
        message = Image(header=self._graph.next_header())
        fill_image(message, self._picture)
        self._images.publish(message)

    def follow(self, name):
        self._graph.wait_until(self._inits.get_subscription_count, f"tracker in {self.namespace}")
        self.show()
        self._inits.publish(detection_message(self._graph.header(0), self._box, target_id=name))
        return self.show(lambda status: status.target_id == name)

    def assert_follows(self, name):
        status, detection = self.show()
        assert (status.target_id, detection.id) == (name, name)
        x, y, width, height = box_of(detection)
        assert x >= 0 and y >= 0 and x + width <= self.width + 0.01 and y + height <= self.height + 0.01

    def stop(self):
        return self._graph.call(Trigger, f"{self.node}/stop", Trigger.Request()).message


@pytest.mark.parametrize("where", ["one process", "two processes"])
def test_each_follows_its_own_target_with_its_own_parameters_and_services(graph, tiny_weights, where):
    left = Side(graph, "/left", 640, 480, (500.0, 380.0, 60.0, 50.0))
    right = Side(graph, "/right", 320, 240, (30.0, 20.0, 40.0, 40.0))
    diagnosed = {}
    graph.client.create_subscription(
        DiagnosticArray,
        "/diagnostics",
        lambda message: diagnosed.update({status.name: status for status in message.status}),
        10,
    )
    settings = {"model": str(tiny_weights), **SETTINGS}
    for side, changes in ((left, {"exit__policy": "fixed", "exit__fixed": 1}), (right, {})):
        if where == "one process":
            graph.host(TrackerNode, side.namespace, **settings, **changes)
        else:
            graph.start("tracker_node", side.namespace, **settings, **changes)

    left.follow("cup")
    right.follow("ball")
    for _ in range(3):
        left.assert_follows("cup")
        right.assert_follows("ball")
    assert right.detections.keys().isdisjoint(left.detections)

    assert graph.set_parameters(right.node, exit__policy="fixed", exit__fixed=2, atomically=True) == (True, "")
    assert right.show()[0].exit_index == 2
    assert left.show()[0].exit_index == 1
    assert left.stop() == "stopped following cup"
    assert left.show()[0].state == TrackStatus.IDLE
    right.assert_follows("ball")
    graph.wait_until(
        lambda: diagnosed.get("/left/tracker_node: tracker") and diagnosed.get("/right/tracker_node: tracker"),
        "diagnostics of both",
    )
    assert right.stop() == "stopped following ball"
