"""TrackerNode in this process, with an engine that answers at once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from dytrack_ros.msg import InitReply, TrackStatus
from live_graph import HEIGHT, WIDTH
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger
from still_engine import StillEngine

from dytrack_ros.model import weight_files
from dytrack_ros.nodes import tracker_node as node_module
from dytrack_ros.nodes.messages import stamp_ns
from dytrack_ros.nodes.tracker_node import TrackerNode
from dytrack_ros.policies.calibration import Calibration, ExitMix, calibration_file
from dytrack_ros.policies.thresholds import ThresholdFamily
from dytrack_ros.tracking import DyTracker
from dytrack_ros.utils import file_sha256

BOX = (100.0, 100.0, 40.0, 40.0)


class ReadyEngine(StillEngine):
    chosen_because = "it is the test's"
    failures = ()


@pytest.fixture
def start(graph, monkeypatch):
    """Start a node with these parameters; returns the graph, with `graph.replies`, `graph.node` and `graph.faults`."""
    monkeypatch.setattr(DyTracker, "from_pretrained", classmethod(lambda cls, *args, **kwargs: cls(ReadyEngine())))

    def start(compressed=False, **parameters):
        settings = {"model": "still", "image_transport": "compressed" if compressed else "raw", **parameters}
        graph.node = graph.host(TrackerNode, **settings)
        graph.replies, graph.faults = [], []
        report = graph.node._faults.report
        graph.node._faults.report = lambda kind, sentence: (
            graph.faults.append((kind, sentence)),
            report(kind, sentence),
        )
        graph.client.create_subscription(InitReply, "init_reply", graph.replies.append, 10)
        graph.listen_to_tracker()
        graph.listen_to_diagnostics(DiagnosticArray)
        graph.speak_to_tracker(compressed)
        graph.show_until_answered()
        for _ in range(3):
            graph.show()
        return graph

    return start


def reply_to(graph, *init, **named):
    """Send an init and return the reply to it."""
    graph.replies.clear()
    graph.init(*init, **named)
    graph.wait_until(lambda: graph.replies, "reply")
    return graph.replies[0]


def test_every_init_is_answered_with_its_header_and_the_reason(start, capfd):
    graph = start()
    stamp = graph.newest_stamp
    accepted = reply_to(graph, BOX, stamp, "cup")
    assert (accepted.accepted, accepted.target_id, accepted.reason) == (True, "cup", "")
    assert accepted.header == graph.header(stamp)
    refused = reply_to(graph, (9000.0, 10.0, 20.0, 20.0), stamp, "mug")
    assert (refused.accepted, refused.target_id) == (False, "mug"), refused
    assert "lies outside the image of 640x480" in refused.reason
    assert graph.show().status.target_id == "cup"

    graph.call(SetBool, "tracker_node/enable", SetBool.Request(data=False))
    refused = reply_to(graph, BOX)
    assert (refused.accepted, refused.reason) == (
        False,
        "images are ignored; call tracker_node/enable with data: true first",
    )
    graph.call(SetBool, "tracker_node/enable", SetBool.Request(data=True))
    assert graph.show().status.target_id == "cup", "the target is kept"

    graph.replies.clear()
    graph.init(BOX, stamp=graph.newest_stamp + 60 * 10**9)
    graph.call(Trigger, "tracker_node/stop", Trigger.Request())
    graph.wait_until(lambda: graph.replies, "reply")
    assert not graph.replies[0].accepted
    log = capfd.readouterr().err
    assert f"following cup: box (100.0, 100.0, 40.0, 40.0) on the image stamped {stamp * 1e-9:.3f} s" in log
    assert log.count("]: following ") == 1, "one line for each accepted init"


def test_auto_takes_a_shipped_model_and_says_why(graph, tiny_weights, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(weight_files, "SHIPPED_FOLDER", tmp_path)
    family, mix = ThresholdFamily.default(), ExitMix((1.0, 0.0, 0.0), 0.6)
    for name, best in (("plain", mix), ("sharp", replace(mix, iou=0.7))):
        weights = shutil.copy(tiny_weights, tmp_path / f"{name}.safetensors")
        calibration = Calibration(file_sha256(weights), family, thresholds=(0.7, 0.7), asked_mix=best, mixes=[best])
        calibration.save(calibration_file(weights))
    graph.host(TrackerNode, engine="torch", threads=1, budget__mode="unlimited")
    graph.listen_to_diagnostics(DiagnosticArray)
    graph.wait_until(lambda: "tracker" in graph.diagnostics, "diagnostics")
    told = {pair.key: pair.value for pair in graph.diagnostics["tracker"].values}
    assert told["model"] == "sharp"
    assert "best expected accuracy without a limit: IoU 0.700" in told["model_reason"]
    assert capfd.readouterr().err.count(f"model sharp: {told['model_reason']}") == 1


def test_unreadable_images_do_not_count_for_the_cameras_period(start, monkeypatch):
    graph = start()
    arrived = []
    monkeypatch.setattr(graph.node._budget, "image_arrived", arrived.append)
    unreadable, readable = graph.image_message(), graph.image_message()
    unreadable.encoding = "wrong"
    readable.header.stamp.nanosec += 1
    for message in (unreadable, readable):
        graph.publish(message)
    graph.wait_until(lambda: arrived, "image")
    assert arrived == [stamp_ns(readable.header) * 1e-9]


def test_a_live_camera_whose_stamps_go_back_keeps_its_target(start):
    graph = start()
    graph.follow(BOX, target_id="cup")
    graph.jump_back(30)
    graph.publish(graph.image_message())
    assert graph.show().status.target_id == "cup"
    ((kind, sentence),) = graph.faults
    assert kind == "time jump"
    assert (
        "the stamps of /image went back by 29.9 s: the frames kept for init are dropped, the target is kept" in sentence
    )
    other = graph.client.create_publisher(Image, "image", 1)
    graph.wait_until(lambda: graph.node.count_publishers("image") == 2, "second publisher")
    graph.jump_back(30)
    graph.publish(graph.image_message())
    assert graph.show().status.target_id == "cup"
    assert "; 2 publishers send images: /client" in graph.faults[-1][1]
    graph.client.destroy_publisher(other)


def test_in_simulated_time_a_loop_resets_the_target(start):
    graph = start(use_sim_time=True)
    graph.follow(BOX)
    graph.jump_back(30)
    graph.publish(graph.image_message())
    assert graph.show().status.state == TrackStatus.IDLE
    assert "does a bag loop?" in graph.faults[0][1]


def test_jpegs_are_decoded_for_a_target_or_a_viewer_only(start, monkeypatch):
    decoded, imdecode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: decoded.append(1) or imdecode(*arguments))
    graph = start(compressed=True)
    for _ in range(5):
        assert graph.show().status.state == TrackStatus.IDLE
    assert not decoded
    graph.follow(BOX)
    graph.show()
    assert decoded
    graph.call(Trigger, "tracker_node/stop", Trigger.Request())
    graph.listen(Image, "overlay", graph.overlays, qos_profile_sensor_data)
    decoded.clear()
    graph.wait_until(lambda: graph.show() and graph.overlays, "overlay")
    assert decoded


def test_the_range_of_values_may_be_fixed_and_too_few_grey_levels_are_reported(start, capfd):
    graph = start(image__range=[0.0, 65535.0])
    values = np.random.default_rng(0).integers(1000, 1020, (HEIGHT, WIDTH), np.uint16)
    deep = {"encoding": "16UC1", "step": 2 * WIDTH, "data": values.tobytes()}
    graph.follow(BOX)
    deep_image = graph.image_message(**deep)
    graph.publish(deep_image)
    graph.answer_to(stamp_ns(deep_image.header))
    assert "0 grey levels in the range 0 to 65535" in capfd.readouterr().err


def test_silence_is_logged_again_only_after_three_times_as_long(start, monkeypatch):
    monkeypatch.setattr(node_module, "SILENCE_LIMIT_S", 0.5)
    graph = start()
    report = graph.node._report_health
    now = [graph.node._intake.last_received_s]
    monkeypatch.setattr(node_module.time, "monotonic", lambda: now[0])
    graph.faults.clear()
    for _ in range(400):
        now[0] += 1
        report()
    silences = [sentence for kind, sentence in graph.faults if kind == "no image"]
    assert [sentence.split(" s on")[0] for sentence in silences] == [
        f"no image for {s}" for s in (1, 3, 9, 27, 81, 243)
    ]


def test_latency_counts_until_the_box_is_out(start, monkeypatch):
    graph = start()
    graph.follow(BOX)
    publish = graph.node._detection.publish
    monkeypatch.setattr(graph.node._detection, "publish", lambda message: (time.sleep(0.2), publish(message)))
    assert graph.show().status.latency_ms >= 200


def test_a_node_of_a_user_without_a_home_runs_and_names_the_folder(tmp_path):
    program = (
        "import os, pwd, sys\n"
        "pwd.getpwuid = {}.__getitem__  # as with a user id that has no entry\n"
        "from dytrack_ros.nodes.run import RunnableNode, run\n"
        "def build():\n"
        "    node = RunnableNode('homeless')\n"
        "    node.finished = True\n"
        "    return node\n"
        "sys.exit(run(build))\n"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "ROS_HOME", "ROS_LOG_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    home = tmp_path / f"dytrack_ros-home-{os.getuid()}"
    assert done.returncode == 0, done.stderr
    assert f"no home folder: {home} is used instead" in done.stderr
    assert (home / ".ros" / "log").is_dir()


def test_a_closed_terminal_ends_a_node_and_nohup_does_not():
    program = (
        "import os, signal, sys\n"
        "from dytrack_ros.nodes import run\n"
        "class Node(run.RunnableNode):\n"
        "    def __init__(self):\n"
        "        super().__init__('node')\n"
        "        os.kill(os.getpid(), signal.SIGHUP)\n"
        "        self.finished, self.exit_code = True, 7\n"
        "sys.exit(run.run(Node))\n"
    )
    for before, code in ((signal.SIG_DFL, 0), (signal.SIG_IGN, 7)):
        prepare = lambda before=before: signal.signal(signal.SIGHUP, before)  # noqa: E731
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, preexec_fn=prepare
        )
        assert (done.returncode, done.stderr) == (code, "")
