"""The bridges as processes beside a tracker: a detector's boxes and clicks become inits, whatever else may come."""

import itertools
import math
import subprocess
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from dytrack_ros.msg import TrackStatus
from geometry_msgs.msg import Point, PointStamped
from live_graph import HEIGHT, WIDTH
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from dytrack_ros.nodes.bridges.__main__ import bridges_yaml
from dytrack_ros.nodes.faults import BAD_DETECTION, BAD_POINT, NO_PICTURE_SIZE
from dytrack_ros.nodes.messages import box_of, detection_message, stamp_ns

BOX = (200.0, 150.0, 60.0, 50.0)
OTHER = (20.0, 30.0, 160.0, 150.0)
# Scores of a random network say nothing: it must neither lose nor doubt its target by itself.
SURE = {"lost__score": 0.0, "lost__uncertain_score": 0.0}
NUMBERS = (math.nan, math.inf, -math.inf, 1e300, -1e300, 0.0)


def detection(box, class_id="person", score=0.9, name=""):
    message = detection_message(Header(), box, target_id=name)
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id, result.hypothesis.score = class_id, score
    message.results.append(result)
    return message


class Detector:
    """Publishes detections of the newest image, or of an earlier one, and hears what inits come of them."""

    def __init__(self, graph):
        self._graph = graph
        self.inits = []
        self._numbers = itertools.count()
        graph.client.create_subscription(Detection2D, "init", self.inits.append, 10)
        self._detections = graph.client.create_publisher(Detection2DArray, "detections", 10)
        self.statuses = graph.client.create_publisher(TrackStatus, "status", 10)
        self.infos = graph.client.create_publisher(CameraInfo, "camera_info", 10)

    def meet(self):
        for publisher in (self._detections, self.statuses, self.infos):
            self._graph.wait_until(publisher.get_subscription_count, f"bridge on {publisher.topic_name}")

    def send(self, *detections, stamp=5_000_000_000):
        self._detections.publish(Detection2DArray(header=self._graph.header(stamp), detections=detections))

    def send_until_init(self, *detections, state=TrackStatus.IDLE, also=lambda: None):
        """Detections and the tracker's state, again and again until an init comes of them; that init.

        The bridge hears by best effort, so whatever else it is to hear is sent every time, by `also`.
        """
        stamp = 5_000_000_000 + next(self._numbers)

        def answered():
            also()
            self.statuses.publish(TrackStatus(state=state))
            self.send(*detections, stamp=stamp)
            self._graph.hear(0.05)
            return [init for init in self.inits if stamp_ns(init.header) == stamp]

        return self._graph.wait_until(answered, "init")[0]

    def no_init_of(self, *detections, state=TrackStatus.IDLE):
        """That none of these becomes an init, while one that comes after them does."""
        refused = f"refused {next(self._numbers)}"
        for one in detections:
            one.id = refused
        self.statuses.publish(TrackStatus(state=state))
        self.wait_for_bridge()
        for _ in range(10):
            self.statuses.publish(TrackStatus(state=state))
            self.send(*detections)
            self._graph.hear(0.02)
        self.wait_for_bridge()
        self.send_until_init(detection(BOX, name=f"after {refused}"))
        assert refused not in {init.id for init in self.inits}

    def wait_for_bridge(self):
        """By the time it has answered a service, it has dealt with what came before."""
        assert self._graph.set_parameters("init_from_detections", holdoff_s=0.0) == (True, "")


@pytest.fixture
def detector(graph):
    return Detector(graph)


def start_bridge(graph, detector, **parameters):
    process = graph.start("init_from_detections", holdoff_s=0.0, **parameters)
    detector.meet()
    return process


def test_a_late_detection_starts_the_tracker_on_the_image_that_the_detector_saw(graph, detector, tiny_weights):
    """The whole chain: image, a detector that is three images late, bridge, tracker, which follows from then on."""
    patience = {"catch_up__seconds": 60.0}  # a busy machine may need some until both have found each other
    graph.start("tracker_node", model=str(tiny_weights), engine="torch", threads=1, **patience, **SURE)
    graph.start("init_from_detections", class_id="person", holdoff_s=5.0)
    graph.listen_to_tracker()
    graph.speak_to_tracker()
    graph.show_until_answered()
    detector.meet()
    seen = graph.show().stamp
    for _ in range(3):
        assert graph.show().status.state == TrackStatus.IDLE

    # Until both have found each other: the same detections again.
    def followed():
        detector.send(detection(OTHER, "dog", 0.99), detection(BOX, "person", 0.7, name="Ann"), stamp=seen)
        graph.hear(0.05)
        graph.publish(graph.image_message())
        graph.hear(0.05)
        return [status for status in graph.statuses.values() if status.state == TrackStatus.TRACKING]

    (status, *_) = graph.wait_until(followed, "target")
    assert status.target_id == "Ann"
    for init in detector.inits:
        assert stamp_ns(init.header) == seen
        assert box_of(init) == pytest.approx(BOX)

    before = len(detector.inits)
    for _ in range(10):  # while it follows, no detection disturbs it
        detector.send(detection(OTHER, "person", 0.99), stamp=seen)
        assert graph.show().status.target_id == "Ann"
    assert len(detector.inits) == before


def test_class_score_and_choice_are_live(graph, detector):
    start_bridge(graph, detector, class_id="person")
    dog, sure, large = detection(BOX, "dog", 0.95), detection(BOX, score=0.9), detection(OTHER, score=0.6)
    assert box_of(detector.send_until_init(dog, large, sure)) == pytest.approx(BOX)
    assert detector.send_until_init(dog, sure).id == "person"
    for changes, chosen in (
        ({"choose": "largest"}, OTHER),
        ({"choose": "best_score", "class_id": "dog"}, BOX),
        ({"class_id": "", "min_score": 0.5, "choose": "largest"}, OTHER),
    ):
        assert graph.set_parameters("init_from_detections", atomically=True, **changes) == (True, "")
        assert box_of(detector.send_until_init(dog, large, sure)) == pytest.approx(chosen)
    assert not graph.set_parameters("init_from_detections", choose="prettiest")[0]
    detector.no_init_of(detection(OTHER, "cat", 0.49))


def test_only_while_the_tracker_has_no_target(graph, detector):
    start_bridge(graph, detector)
    detector.send_until_init(detection(BOX), state=TrackStatus.LOST)
    detector.no_init_of(detection(BOX), state=TrackStatus.TRACKING)
    detector.no_init_of(detection(BOX), state=TrackStatus.UNCERTAIN)
    assert graph.set_parameters("init_from_detections", enabled=False) == (True, "")
    for _ in range(10):
        detector.statuses.publish(TrackStatus())
        detector.send(detection(BOX, name="while disabled"))
        graph.hear(0.02)
    assert graph.set_parameters("init_from_detections", enabled=True) == (True, "")
    detector.send_until_init(detection(BOX, name="later"))
    assert "while disabled" not in {init.id for init in detector.inits}


def test_boxes_of_a_detector_that_works_on_another_size_are_scaled(graph, detector):
    picture = {"picture__width": 640, "picture__height": 640}
    process = start_bridge(graph, detector, **picture)
    seen = detection((320.0, 320.0, 64.0, 32.0))

    def send():
        detector.statuses.publish(TrackStatus())
        detector.send(seen)
        graph.hear(0.05)

    graph.wait_until(lambda: send() or NO_PICTURE_SIZE in process.output, "complaint about the unknown size")
    assert detector.inits == []
    size = CameraInfo(width=1280, height=720)
    init = detector.send_until_init(seen, also=lambda: detector.infos.publish(size))
    assert box_of(init) == pytest.approx((640.0, 360.0, 128.0, 36.0))
    unscaled = {"picture__width": 0, "picture__height": 0}
    assert graph.set_parameters("init_from_detections", atomically=True, **unscaled) == (True, "")
    init = detector.send_until_init(detection(BOX))
    assert box_of(init) == pytest.approx(BOX)
    detector.no_init_of(detection((1300.0, 100.0, 60.0, 50.0)))
    graph.wait_logged(process, "lies outside the image of 1280x720: set picture.width")


def test_nearest_to_the_last_target(graph, detector):
    start_bridge(graph, detector, choose="nearest_last")
    near, sure = detection((100.0, 100.0, 40.0, 40.0), score=0.6), detection((400.0, 300.0, 40.0, 40.0), score=0.9)
    assert box_of(detector.send_until_init(near, sure)) == pytest.approx((400.0, 300.0, 40.0, 40.0))
    tracked = graph.client.create_publisher(Detection2D, "detection", 10)
    graph.wait_until(tracked.get_subscription_count, "bridge on detection")
    last = detection_message(graph.header(1), (110.0, 110.0, 30.0, 30.0), 0.8)

    def takes_the_near_one():
        init = detector.send_until_init(near, sure, also=lambda: tracked.publish(last))
        return box_of(init) == pytest.approx((100.0, 100.0, 40.0, 40.0))

    graph.wait_until(takes_the_near_one, "the one near the last target")


def test_hostile_detections_are_survived(graph, detector):
    process = start_bridge(graph, detector, class_id="person")
    for number in NUMBERS:
        detector.no_init_of(detection((number, 10.0, number, 20.0)), detection(BOX, score=math.nan))
        if not 0 < number < math.inf:
            detector.no_init_of(detection(BOX, "Person"), detection(BOX, score=number))
    detector.no_init_of()
    detector.no_init_of(
        Detection2D(), detection(BOX, "", 0.9), detection(BOX, "person\n", 0.9), detection(BOX, "x" * 100_000)
    )
    assert len(detector.send_until_init(detection(BOX, name="long" * 1000)).id) == 256
    detector.send_until_init(*[detection((0.0, 0.0, math.nan, 1.0))] * 2000, detection(BOX))
    assert process.exit_code is None
    assert "Traceback" not in process.output
    assert BAD_DETECTION in process.output
    assert process.stop() == 0


@pytest.mark.parametrize(
    ("bridge", "good", "bad", "reason"),
    [
        ("init_from_point", "width: 80.0", "width: 1.0", "width"),
        ("init_from_detections", 'choose: "best_score"', "choose: prettiest", "choose must be one of best_score"),
    ],
)
def test_the_parameter_file_reaches_the_bridge(tmp_path, bridge, good, bad, reason):
    assert good in bridges_yaml()
    (tmp_path / "mine.yaml").write_text(bridges_yaml().replace(good, bad))
    program = Path(get_package_prefix("dytrack_ros"), "lib", "dytrack_ros", bridge)
    command = [program, "--ros-args", "-r", "__ns:=/left", "--params-file", tmp_path / "mine.yaml"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert reason in refused.stderr


def test_points_become_boxes(graph):
    inits = []
    graph.client.create_subscription(Detection2D, "init", inits.append, 10)
    points = graph.client.create_publisher(PointStamped, "point", 10)
    clicks = graph.client.create_publisher(Point, "click", 10)
    process = graph.start("init_from_point", width=40.0, height=30.0)
    for publisher in (points, clicks):
        graph.wait_until(publisher.get_subscription_count, "bridge")

    def send_until_init(send):
        before = len(inits)

        def answered():
            send()
            graph.hear(0.05)
            return inits[before:]

        return graph.wait_until(answered, "init")[0]

    stamped = PointStamped(header=graph.header(7_000_000_000), point=Point(x=100.0, y=60.0))
    init = send_until_init(lambda: points.publish(stamped))
    assert stamp_ns(init.header) == 7_000_000_000
    assert box_of(init) == pytest.approx((80.0, 45.0, 40.0, 30.0))

    for number in NUMBERS[:3]:
        clicks.publish(Point(x=number, y=1.0))
        points.publish(PointStamped(point=Point(x=1.0, y=number)))
    graph.wait_until(lambda: BAD_POINT in process.output, "complaint")
    assert graph.set_parameters("init_from_point", width=10.0) == (True, "")

    def unstamped():  # inits of the stamped point may still be under way
        clicks.publish(Point(x=100.0, y=60.0))
        graph.hear(0.05)
        return [init for init in inits if stamp_ns(init.header) == 0]

    init = graph.wait_until(unstamped, "init of the click")[0]
    assert box_of(init) == pytest.approx((95.0, 45.0, 10.0, 30.0))
    assert process.exit_code is None


def test_target_offset_is_measured_from_the_centre_of_the_image(graph, tiny_weights):
    offsets = {}
    graph.start("tracker_node", model=str(tiny_weights), engine="torch", threads=1, **SURE)
    graph.listen_to_tracker()
    graph.listen(PointStamped, "target_offset", offsets)
    graph.speak_to_tracker()
    graph.show_until_answered()
    assert graph.show().status.state == TrackStatus.IDLE

    right_of_the_middle = (WIDTH / 2, HEIGHT / 2 - 24.0, 64.0, 48.0)
    graph.follow(right_of_the_middle)
    followed = graph.newest_stamp
    offset = graph.wait_until(lambda: offsets.get(followed), "offset")
    assert (offset.point.x, offset.point.y) == pytest.approx((0.1, 0.0))
    assert offset.point.z == pytest.approx(64 * 48 / (WIDTH * HEIGHT))
    assert offset.header.frame_id == "test_camera"
    assert min(offsets) == followed  # none while there was no target

    for _ in range(5):
        answer = graph.show()
        offset = graph.wait_until(lambda at=answer.stamp: offsets.get(at), "offset")
        x, y, width, height = answer.box
        assert offset.point.x == pytest.approx((x + width / 2) / WIDTH * 2 - 1, abs=1e-6)
        assert offset.point.y == pytest.approx((y + height / 2) / HEIGHT * 2 - 1, abs=1e-6)
        assert -1 <= offset.point.x <= 1 and -1 <= offset.point.y <= 1 and 0 < offset.point.z <= 1

    lost = {"lost__uncertain_score": 1.0, "lost__score": 1.0, "lost__hysteresis": 0.0, "lost__frames": 1}
    assert graph.set_parameters("tracker_node", atomically=True, **lost)[0]
    graph.wait_until(lambda: graph.show().status.state == TrackStatus.LOST, "lost target")
    lost_at = graph.newest_stamp
    for _ in range(3):
        assert graph.show().detection is not None
    assert not [stamp for stamp in offsets if stamp >= lost_at]
