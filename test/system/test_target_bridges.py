"""target_pose and target_bearing as processes: a tracker's results and a depth image become places, or silence."""

import math

import hostile_messages as hostile
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from dytrack_ros.msg import TrackStatus
from geometry_msgs.msg import PoseStamped, TwistStamped, Vector3Stamped
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, Image
from target_scenes import FOCAL, HEIGHT, WIDTH, camera_info, depth_message
from test_target_geometry import depth_images, infos
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2D, Detection3D

from dytrack_ros.nodes.faults import BAD_CAMERA_INFO, BAD_DETECTION, UNREADABLE_DEPTH
from dytrack_ros.nodes.messages import detection_message, stamp_ns

BOX = (400.0, 180.0, 80.0, 120.0)
RANGE_M = 3.0
PLACE = (
    (BOX[0] + BOX[2] / 2 - WIDTH / 2) * RANGE_M / FOCAL,
    (BOX[1] + BOX[3] / 2 - HEIGHT / 2) * RANGE_M / FOCAL,
    RANGE_M,
)
RELIABLE = {"reliability": "reliable", "depth": 100}


def message_of(kind, fields, header):
    message = kind(header=header)
    for name, value in vars(fields).items():
        if name == "roi":
            for part, number in vars(value).items():
                setattr(message.roi, part, number)
        else:
            setattr(message, name, value)
    return message


class Tracker:
    """Publishes what a tracker and a depth camera would, and hears what a bridge makes of it."""

    def __init__(self, graph, bridge="target_pose", **parameters):
        self._graph = graph
        client = graph.client
        self._publishers = {
            name: client.create_publisher(kind, name, 100)
            for name, kind in (
                ("detection", Detection2D),
                ("status", TrackStatus),
                ("camera_info", CameraInfo),
                ("depth", Image),
            )
        }
        if bridge != "target_pose" or parameters.get("use_depth") is False:
            del self._publishers["depth"]
        # Best effort may lose an image on a busy machine.
        overrides = {f"qos_overrides./depth.subscription.{name}": value for name, value in RELIABLE.items()}
        self.poses, self.boxes, self.velocities, self.bearings, self.transforms = {}, {}, {}, {}, []
        graph.listen_to_diagnostics(DiagnosticArray)
        graph.listen(PoseStamped, "target_pose", self.poses)
        graph.listen(Detection3D, "target_detection3d", self.boxes)
        graph.listen(TwistStamped, "target_velocity", self.velocities)
        graph.listen(Vector3Stamped, "target_bearing", self.bearings)
        client.create_subscription(TFMessage, "/tf", lambda m: self.transforms.extend(m.transforms), 100)
        self.process = graph.start(bridge, **overrides, **parameters)
        depth = np.full((240, 320), 7.0)
        depth[80:160, 190:250] = RANGE_M
        depth[::5] = 0
        self.depth = depth_message(depth)
        for publisher in self._publishers.values():
            graph.wait_until(publisher.get_subscription_count, f"bridge on {publisher.topic_name}")
        self.show_until_answered()

    def show_until_answered(self):
        """Publish good frames until one is answered: both sides know each other, and the last camera info is good."""
        sent = []

        def answered():
            sent.append(self.frame())
            self._graph.hear(0.05)
            return set(sent) & (self.poses.keys() | self.bearings.keys())

        self._graph.wait_until(answered, "answer to any frame")

    def send(self, name, message):
        if name in self._publishers:
            self._publishers[name].publish(message)

    def frame(self, state=TrackStatus.TRACKING, box=BOX, parts=("info", "depth", "detection", "status"), lag=0):
        """Publish the parts of a frame in this order; the depth is `lag` ns younger. Returns the frame's stamp."""
        header = self._graph.next_header()
        stamp = stamp_ns(header)
        messages = {
            "info": ("camera_info", lambda: message_of(CameraInfo, camera_info(), header)),
            "depth": ("depth", lambda: message_of(Image, self.depth, self._graph.header(stamp + lag))),
            "detection": ("detection", lambda: detection_message(header, box, 0.8, "Ann")),
            "status": ("status", lambda: TrackStatus(header=header, state=state, target_id="Ann")),
        }
        for part in parts:
            name, make = messages[part]
            self.send(name, make())
        return stamp

    def answer(self, stamp, heard=None):
        heard = self.poses if heard is None else heard
        return self._graph.wait_until(lambda: heard.get(stamp), f"answer to {stamp}")

    def no_answer(self, *stamps):
        """That these stay without an answer, while a good frame after them has one."""
        self.answer(self.frame(TrackStatus.TRACKING), self.poses or self.bearings)
        assert not set(stamps) & (self.poses.keys() | self.bearings.keys() | self.boxes.keys())

    def wait_diagnosed(self, words, level):
        """Without frames, the state stays as it is."""
        self._graph.wait_until(
            lambda: (task := self._graph.diagnostics.get("target")) and words in task.message and task.level == level,
            f"diagnostics with {words!r}",
        )


def test_poses_by_depth_in_every_order_of_arrival(graph):
    tracker = Tracker(graph, tf_frame="target", filter__enabled=True, filter__noise=0.001)
    for parts in (
        ("info", "depth", "detection", "status"),
        ("depth", "status", "detection"),
        ("detection", "status", "depth"),
        ("status", "depth", "detection"),
    ):
        for lag in (0, 15_000_000, -15_000_000):
            stamp = tracker.frame(parts=parts, lag=lag)
            pose = tracker.answer(stamp)
            position, turn = pose.pose.position, pose.pose.orientation
            assert (position.x, position.y, position.z) == pytest.approx(PLACE, rel=0.01)
            assert (turn.x, turn.y, turn.z, turn.w) == (0, 0, 0, 1)
            assert pose.header.frame_id == "test_camera"
    box = tracker.answer(stamp, tracker.boxes)
    assert (box.id, box.results[0].hypothesis.score) == ("Ann", pytest.approx(0.8))
    assert box.bbox.center == box.results[0].pose.pose
    assert (box.bbox.size.x, box.bbox.size.y) == pytest.approx((80 * RANGE_M / FOCAL, 120 * RANGE_M / FOCAL), rel=0.01)
    speed = tracker.answer(stamp, tracker.velocities).twist.linear
    assert (speed.x, speed.y, speed.z) == pytest.approx((0, 0, 0), abs=0.05)
    # Best effort, 20 ms: the next depth image is another frame's.
    tracker.no_answer(tracker.frame(lag=-25_000_000, parts=("depth", "detection", "status")))

    # As tf2's listeners and buffer want them: reliable, unit quaternions, frames without a leading slash.
    transform = graph.wait_until(lambda: tracker.transforms, "transform")[-1]
    assert (transform.header.frame_id, transform.child_frame_id) == ("test_camera", "target")
    move, turn = transform.transform.translation, transform.transform.rotation
    assert (move.x, move.y, move.z) == pytest.approx(PLACE, rel=0.01)
    assert math.hypot(turn.x, turn.y, turn.z, turn.w) == 1
    (info,) = graph.client.get_publishers_info_by_topic("/tf")
    assert info.qos_profile.reliability.name == "RELIABLE" and info.qos_profile.durability.name == "VOLATILE"
    assert tracker.process.stop() == 0


def test_silence_while_the_target_cannot_be_trusted(graph):
    tracker = Tracker(graph, uncertain_s=0.32)
    uncertain = [tracker.frame(TrackStatus.UNCERTAIN) for _ in range(10)]  # 50 ms apart
    for stamp in uncertain[:7]:
        tracker.answer(stamp)
    tracker.no_answer(*uncertain[7:])
    tracker.answer(tracker.frame(TrackStatus.UNCERTAIN))  # TRACKING in between: the time starts anew
    tracker.no_answer(tracker.frame(TrackStatus.LOST), tracker.frame(TrackStatus.IDLE))
    # A box that waits for its depth image while the target is lost is not answered when that comes at last.
    waiting = tracker.frame(parts=("detection", "status"))
    tracker.frame(TrackStatus.LOST, parts=("status",))
    tracker.wait_diagnosed("silent: LOST", DiagnosticStatus.WARN)
    tracker.no_answer(waiting)
    tracker.frame(TrackStatus.IDLE)
    tracker.wait_diagnosed("silent: no target", DiagnosticStatus.OK)

    tracker.depth = depth_message(np.zeros((HEIGHT, WIDTH)))
    for _ in range(3):
        tracker.frame()
    tracker.wait_diagnosed("no range: the depth has no cluster", DiagnosticStatus.WARN)
    assert graph.set_parameters("target_pose", target_size_m=[0.0, 120 * RANGE_M / FOCAL]) == (True, "")
    assert tracker.answer(tracker.frame()).pose.position.z == pytest.approx(RANGE_M, rel=0.001)


def test_without_depth_the_known_size_gives_the_range(graph):
    tracker = Tracker(graph, use_depth=False, target_size_m=[80 * RANGE_M / FOCAL, 0.0])
    position = tracker.answer(tracker.frame()).pose.position
    assert (position.x, position.y, position.z) == pytest.approx(PLACE, rel=0.001)
    tracker.no_answer(tracker.frame(box=(-20.0, 100.0, 80.0, 120.0)))  # cut by the border
    assert graph.set_parameters("target_pose", target_size_m=[0.0, 0.0]) == (True, "")
    tracker.frame()
    tracker.wait_diagnosed("target_size_m is not set", DiagnosticStatus.WARN)


def test_bearing_needs_no_range(graph):
    tracker = Tracker(graph, "target_bearing")
    bearing = tracker.answer(tracker.frame(), tracker.bearings)
    assert bearing.vector.x == pytest.approx(math.atan2(PLACE[0], RANGE_M))
    assert bearing.vector.y == pytest.approx(-math.atan2(PLACE[1], math.hypot(PLACE[0], RANGE_M)))
    assert bearing.header.frame_id == "test_camera"
    tracker.no_answer(tracker.frame(TrackStatus.LOST), tracker.frame(box=(math.nan, 0.0, 10.0, 10.0)))
    graph.wait_logged(tracker.process, BAD_DETECTION)


@pytest.mark.timeout(1200 if hostile.IS_WHOLE else 120)
def test_hostile_depth_images_and_infos_are_survived_in_silence(graph):
    tracker = Tracker(graph)
    sent = []
    count = hostile.MESSAGES // (1 if hostile.IS_WHOLE else 5)

    @settings(
        max_examples=count // 10,
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(depth_images, infos()), min_size=10, max_size=10))
    def send(batch):
        for image, info in batch:
            header = graph.next_header()
            sent.append(stamp_ns(header))
            tracker.send("camera_info", message_of(CameraInfo, info, header))
            tracker.send("depth", message_of(Image, image, header))
            tracker.send("detection", detection_message(header, BOX, 0.8))
            tracker.send("status", TrackStatus(header=header, state=TrackStatus.TRACKING))
            graph.hear()
        tracker.show_until_answered()

    send()
    assert len(sent) >= count
    for stamp in set(sent) & tracker.poses.keys():
        position = tracker.poses[stamp].pose.position
        assert 0.09 < position.z < 51 and math.isfinite(position.x) and math.isfinite(position.y)
    assert len(set(sent) & tracker.poses.keys()) < 0.05 * len(sent)
    assert tracker.process.exit_code is None
    assert "Traceback" not in tracker.process.output
    for kind in (UNREADABLE_DEPTH, BAD_CAMERA_INFO):
        assert kind in tracker.process.output
    assert tracker.process.stop() == 0


@pytest.mark.parametrize("missing", ["reader", "target"])
def test_no_depth_image_is_read_without_a_reader_or_a_target(graph, monkeypatch, missing):
    from dytrack_ros.nodes.bridges import target_pose

    read = []
    monkeypatch.setattr(target_pose, "deserialize_message", lambda image, kind: read.append(image) or Image())
    node = graph.host(target_pose.TargetPose, target_size_m=[0.4, 0.0])
    publishers = {
        name: graph.client.create_publisher(kind, name, 10)
        for name, kind in (
            ("detection", Detection2D),
            ("status", TrackStatus),
            ("depth", Image),
            ("camera_info", CameraInfo),
        )
    }
    for publisher in publishers.values():
        graph.wait_until(publisher.get_subscription_count, "bridge")

    def show(state):
        header = graph.next_header()
        publishers["camera_info"].publish(message_of(CameraInfo, camera_info(), header))
        publishers["depth"].publish(message_of(Image, depth_message(np.full((60, 80), 2.0)), header))
        publishers["detection"].publish(detection_message(header, BOX, 0.8))
        publishers["status"].publish(TrackStatus(header=header, state=state))
        for _ in range(8):
            graph.hear(0.05)

    if missing == "target":
        graph.client.create_subscription(PoseStamped, "target_pose", lambda message: None, 10)
        graph.wait_until(node._pose.get_subscription_count, "reader")
    for _ in range(5):
        show(TrackStatus.IDLE if missing == "target" else TrackStatus.TRACKING)
    assert not read
    graph.client.create_subscription(PoseStamped, "target_pose", lambda message: None, 10)
    graph.wait_until(node._pose.get_subscription_count, "reader")
    graph.wait_until(lambda: show(TrackStatus.TRACKING) or read, "depth image")
