"""The node that docs/how-to/quickstart.md shows, beside a real tracker."""

import pytest
import rclpy
from documents import CHECKOUT, blocks
from dytrack_ros.msg import TrackStatus


@pytest.fixture
def pointer(graph):
    (block,) = [
        block for block in blocks(CHECKOUT / "docs" / "how-to" / "quickstart.md") if "class Pointer(Node)" in block.text
    ]
    names = {}
    exec(compile(block.text, block.name, "exec"), names)
    rclpy.init(domain_id=graph.domain)
    yield names["Pointer"]()
    rclpy.shutdown()


def test_the_pointer_of_the_quick_start_points(graph, pointer, tiny_weights):
    graph.start(
        "tracker_node", model=str(tiny_weights), engine="torch", threads=1, lost__score=0.0, lost__uncertain_score=0.0
    )
    graph.listen_to_tracker()
    graph.speak_to_tracker()
    graph.show_until_answered()
    graph.wait_until(pointer.publisher.get_subscription_count, "tracker")
    image = graph.image_message()
    graph.publish(image)
    graph.answer_to(graph.newest_stamp)
    pointer.follow(image.header, 100.0, 80.0, 60.0, 40.0)
    first = graph.wait_until(lambda: graph.detections.get(graph.newest_stamp), "detection")
    assert first.id == "cup"
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (130.0, 100.0)
    assert graph.show().status.state == TrackStatus.TRACKING
