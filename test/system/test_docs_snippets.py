"""The Python code that docs/how-to/quickstart.md shows, beside a real tracker."""

import pytest
from documents import CHECKOUT, blocks
from dytrack_ros.msg import TrackStatus


@pytest.fixture
def init_of():
    page = CHECKOUT / "docs" / "how-to" / "quickstart.md"
    (block,) = [block for block in blocks(page) if "def init_of(" in block.text and block.language == "python"]
    names = {}
    exec(compile(block.text, block.name, "exec"), names)
    return names["init_of"]


def test_the_init_of_the_quick_start_is_followed(graph, init_of, tiny_weights):
    graph.start(
        "tracker_node", model=str(tiny_weights), engine="torch", threads=1, lost__score=0.0, lost__uncertain_score=0.0
    )
    graph.listen_to_tracker()
    graph.speak_to_tracker()
    graph.show_until_answered()
    image = graph.image_message()
    graph.publish(image)
    graph.answer_to(graph.newest_stamp)
    graph.init_publisher.publish(init_of(image.header, 100.0, 80.0, 60.0, 40.0))
    first = graph.wait_until(lambda: graph.detections.get(graph.newest_stamp), "detection")
    assert first.id == "cup"
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (130.0, 100.0)
    assert graph.show().status.state == TrackStatus.TRACKING
