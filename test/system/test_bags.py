"""Real bags in, real bags out: played to a live tracker_node at their own pace, on their own clock, in a loop.

Written and read by the library rosbags, whose serialization owes nothing to ROS; in between the bytes go through DDS as
they are, as with `ros2 bag`.
"""

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from dytrack_ros.msg import TrackStatus
from live_graph import LiveGraph
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2D

pytest.importorskip("rosbags", reason="rosbags comes from PyPI, no ROS distribution has it")

from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

WIDTH, HEIGHT = 160, 120
BOX = (90.0, 60.0, 20.0, 20.0)
TARGET = "cup"
FRAME_ID = "recorded_camera"
IMAGES = 24
PERIOD_NS = 50_000_000
# From the capture to the recording.
DELAY_NS = 8_000_000
QUEUE = 100  # nothing is to be lost, however busy the machine is
RECORDED = {"/detection": Detection2D, "/status": TrackStatus}
PLAYED = {"/clock": Clock, "/image": Image, "/init": Detection2D}


def type_name(message_type):
    return f"{message_type.__module__.partition('.')[0]}/msg/{message_type.__name__}"


@pytest.fixture(scope="module")
def types():
    """A rosbags typestore that knows our messages from their installed definitions."""
    store = get_typestore(Stores.LATEST)
    definitions = {}
    for package in ("vision_msgs", "dytrack_ros"):
        for path in Path(get_package_share_directory(package), "msg").glob("*.msg"):
            definitions |= get_types_from_msg(path.read_text(), f"{package}/msg/{path.stem}")
    store.register({name: fields for name, fields in definitions.items() if name not in store.types})
    return store


@pytest.fixture(scope="module")
def player(tmp_path_factory, tiny_weights):
    """A tracker on simulated time, everything that a player and a recorder need, and what has been recorded."""
    graph = LiveGraph(tmp_path_factory.mktemp("bags"))
    process = graph.start(
        "tracker_node",
        model=str(tiny_weights),
        threads=1,
        engine="torch",
        use_sim_time=True,
        **{
            "qos_overrides./image.subscription.reliability": "reliable",
            "qos_overrides./image.subscription.depth": QUEUE,
        },
    )
    recording = []

    def record(topic, heard):
        def keep(data):
            recording.append((topic, time.time_ns(), data))
            message = deserialize_message(data, RECORDED[topic])
            heard[stamp_of(message)] = message

        graph.client.create_subscription(RECORDED[topic], topic, keep, QUEUE, raw=True)

    record("/detection", graph.detections)
    record("/status", graph.statuses)
    publishers = {topic: graph.client.create_publisher(kind, topic, QUEUE) for topic, kind in PLAYED.items()}
    for topic, publisher in publishers.items():
        graph.wait_until(publisher.get_subscription_count, f"subscriber of {topic}")
    yield SimpleNamespace(graph=graph, process=process, publishers=publishers, recording=recording)
    graph.close()


def write_camera_bag(path, storage, types, start_ns):
    """Images every PERIOD_NS with a clock before each, and after the third an init drawn on the first; their stamps."""
    random = np.random.default_rng(0)

    def message(kind, **fields):
        return types.types[kind](**fields)

    def header(stamp_ns):
        stamp = message("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return message("std_msgs/msg/Header", stamp=stamp, frame_id=FRAME_ID)

    stamps = [start_ns + index * PERIOD_NS for index in range(IMAGES)]
    with Writer(path, version=9, storage_plugin=storage) as bag:
        connections = {
            topic: bag.add_connection(topic, type_name(message_type), typestore=types)
            for topic, message_type in PLAYED.items()
        }

        def write(topic, time_ns, recorded):
            kind = connections[topic].msgtype
            bag.write(connections[topic], time_ns, types.serialize_cdr(recorded, kind))

        for stamp_ns in stamps:
            now_ns = stamp_ns + DELAY_NS
            write("/clock", now_ns, message("rosgraph_msgs/msg/Clock", clock=header(now_ns).stamp))
            picture = random.integers(0, 256, HEIGHT * WIDTH * 3, dtype=np.uint8)
            size = {"height": HEIGHT, "width": WIDTH, "step": WIDTH * 3, "encoding": "bgr8", "is_bigendian": 0}
            write("/image", now_ns + 1, message("sensor_msgs/msg/Image", header=header(stamp_ns), data=picture, **size))
            if stamp_ns == stamps[2]:
                x, y, width, height = BOX
                position = message("vision_msgs/msg/Point2D", x=x + width / 2, y=y + height / 2)
                center = message("vision_msgs/msg/Pose2D", position=position, theta=0.0)
                box = message("vision_msgs/msg/BoundingBox2D", center=center, size_x=width, size_y=height)
                init = message("vision_msgs/msg/Detection2D", header=header(start_ns), results=[], bbox=box, id=TARGET)
                write("/init", now_ns + 2, init)
    return stamps


def play(player, path, leave_out=()):
    """Publish what the bag holds when due; wait until its last image is answered; return what was recorded."""
    graph = player.graph
    player.recording.clear()
    graph.statuses.clear()
    graph.detections.clear()
    with Reader(path) as bag:
        started_s = time.monotonic()
        for connection, time_ns, data in bag.messages():
            due_s = started_s + (time_ns - bag.start_time) * 1e-9
            while (left_s := due_s - time.monotonic()) > 0:
                graph.hear(left_s)
            if connection.topic == "/init":  # nothing orders two topics, and nobody draws a box on what he has not seen
                graph.wait_until(lambda: graph.statuses, "first status of this loop")
            if connection.topic not in leave_out:
                player.publishers[connection.topic].publish(bytes(data))
    graph.answer_to(image_stamps(path)[-1])
    return list(player.recording)


def image_stamps(path):
    with AnyReader([path]) as bag:
        connections = [connection for connection in bag.connections if connection.topic == "/image"]
        return [stamp_of(bag.deserialize(data, c.msgtype)) for c, _, data in bag.messages(connections)]


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def write_recording(path, storage, types, recording):
    with Writer(path, version=9, storage_plugin=storage) as bag:
        connections = {
            topic: bag.add_connection(topic, type_name(message_type), typestore=types)
            for topic, message_type in RECORDED.items()
        }
        for topic, time_ns, data in recording:
            bag.write(connections[topic], time_ns, data)


def read_bag(path):
    """Every topic's messages in the order of recording, by nothing but what the bag itself says of its types."""
    with AnyReader([path]) as bag:
        messages = {connection.topic: [] for connection in bag.connections}
        for connection, _, data in bag.messages():
            messages[connection.topic].append(bag.deserialize(data, connection.msgtype))
    return messages


def test_our_definitions_have_the_types_that_go_over_the_wire(types):
    official = "RIHS01_0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea"
    assert types.hash_rihs01("vision_msgs/msg/Detection2D") == official
    assert {name for name, _ in types.fielddefs["dytrack_ros/msg/TrackStatus"][1]} == set(
        TrackStatus.get_fields_and_field_types()
    )


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3], ids=["mcap", "sqlite3"])
def test_bag_in_bag_out(player, types, tmp_path, storage):
    source, result = tmp_path / "camera", tmp_path / "result"
    stamps = write_camera_bag(source, storage, types, start_ns=storage * 10**12)
    assert image_stamps(source) == stamps

    loops = [play(player, source), play(player, source, leave_out=("/init",)), play(player, source)]
    for number, recording in enumerate(loops):
        write_recording(result / str(number), storage, types, recording)
    first, without_init, again = (read_bag(result / str(number)) for number in range(len(loops)))

    for loop in (first, without_init, again):
        answered = [stamp_of(status) for status in loop["/status"]]
        assert answered == sorted(answered), "a box from the loop before"
        assert set(answered) <= set(stamps)
        assert answered[-1] == stamps[-1]
        assert {status.header.frame_id for status in loop["/status"]} == {FRAME_ID}
        # By the bag's clock; it comes on a topic of its own, so that an image may be a little before or behind it.
        assert max(abs(status.image_age_ms) for status in loop["/status"]) <= IMAGES * PERIOD_NS * 1e-6

    for loop in (first, again):
        followed = [stamp_of(status) for status in loop["/status"] if status.target_id == TARGET]
        assert [stamp_of(detection) for detection in loop["/detection"]] == followed
        assert followed[-1] == stamps[-1]
        assert {detection.id for detection in loop["/detection"]} == {TARGET}
        assert {detection.header.frame_id for detection in loop["/detection"]} == {FRAME_ID}
    assert without_init["/detection"] == []
    assert {(status.state, status.target_id) for status in without_init["/status"]} == {(TrackStatus.IDLE, "")}

    assert player.process.exit_code is None
    player.graph.wait_logged(player.process, "went back by 1.1 s")
