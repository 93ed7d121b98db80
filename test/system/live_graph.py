"""A client on a live graph: node processes of the built package on one side, this test process on the other."""

import contextlib
import itertools
import os
import threading
import time
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from dytrack_ros.msg import TrackStatus
from node_graph import Graph
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.images import fill_compressed, fill_image
from dytrack_ros.nodes.messages import box_of, detection_message, stamp_ns

WIDTH, HEIGHT = 640, 480
FRAME_NS = 50_000_000
DROPPED_ANSWER = "failed to send response (timeout)"

_domains = itertools.count(int(os.environ.get("ROS_DOMAIN_ID", 20 + os.getpid() % 70)))


class LiveGraph(Graph):
    """A DDS domain of its own, the processes started on it, and a client node that remembers what it hears.

    Attributes:
        statuses: TrackStatus by stamp in nanoseconds; `detections`, `truths`, `images`, `overlays` likewise.
        diagnostics: the last status of each task by its name, empty before the first.
        newest_stamp: of the last image that was made, in nanoseconds; the next one's is `frame_ns` later.
    """

    def __init__(self, folder):
        self.domain = 1 + next(_domains) % 100
        os.environ["ROS_DOMAIN_ID"] = str(self.domain)
        super().__init__(folder)
        self._hosted = []
        self.statuses, self.detections, self.truths = {}, {}, {}
        self.images, self.overlays = {}, {}
        self.diagnostics = defaultdict(DiagnosticStatus)
        self.newest_stamp = 1_000_000_000_000
        self.frame_ns = FRAME_NS
        self._random = np.random.default_rng(0)

    def close(self):
        for node in self._hosted:
            node.close()
        super().close()
        for node in self._hosted:
            node.destroy_node()

    # ---- processes and waiting

    def host(self, node_class, namespace="/", **parameters):
        """A node of the package in this process, on the client's executor: it lives while somebody waits."""
        overrides = [Parameter(key.replace("__", "."), value=value) for key, value in parameters.items()]
        node = node_class(context=self._context, namespace=namespace, parameter_overrides=overrides)
        self._executor.add_node(node)
        self._hosted.append(node)
        return node

    def hear(self, patience_s=0.0):
        """Take in one message, the next that comes if there is none yet."""
        self._executor.spin_once(timeout_sec=patience_s)

    def wait_logged(self, process, text):
        self.wait_until(lambda: text in process.output, f"log of {text!r}")

    def meet_tracker(self, diagnostics_type):
        """Hear all that a tracker says and talk to it, until it answers to images."""
        self.listen_to_tracker()
        self.listen_to_diagnostics(diagnostics_type)
        self.speak_to_tracker()
        self.show_until_answered()

    # ---- listening

    def listen(self, message_type, topic, kept, qos=50):
        self.client.create_subscription(message_type, topic, lambda m: kept.update({stamp_ns(m.header): m}), qos)

    def listen_to_tracker(self):
        self.listen(TrackStatus, "status", self.statuses)
        self.listen(Detection2D, "detection", self.detections)

    def listen_to_diagnostics(self, message_type):
        def keep(message):
            self.diagnostics |= {status.name.rpartition(": ")[2]: status for status in message.status}

        self.client.create_subscription(message_type, "/diagnostics", keep, 10)

    # ---- speaking

    def speak_to_tracker(self, compressed=False):
        self._compressed = compressed
        topic = "image/compressed" if compressed else "image"
        self.image_publisher = self.client.create_publisher(CompressedImage if compressed else Image, topic, 10)
        self.init_publisher = self.client.create_publisher(Detection2D, "init", 10)

    def next_header(self):
        self.newest_stamp += self.frame_ns
        return self.header(self.newest_stamp)

    @staticmethod
    def header(stamp):
        header = Header(frame_id="test_camera")
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        return header

    def jump_back(self, seconds):
        self.newest_stamp -= round(seconds * 1e9)

    def picture(self):
        return self._random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)

    def image_message(self, **changes):
        message = (CompressedImage if self._compressed else Image)(header=self.next_header())
        (fill_compressed if self._compressed else fill_image)(message, self.picture())
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    def publish(self, image_message):
        self.image_publisher.publish(image_message)

    @contextlib.contextmanager
    def flood(self):
        """Images all the time, as fast as they can be made, from a thread of its own."""
        ending = threading.Event()

        def publish():
            while not ending.wait(0.01):
                self.publish(self.image_message())

        camera = threading.Thread(target=publish)
        camera.start()
        try:
            yield
        finally:
            ending.set()
            camera.join()

    def show(self):
        """Publish an image and wait for what the tracker says of it: status, detection or None, box or None, stamp."""
        message = self.image_message()
        self.publish(message)
        return self.answer_to(stamp_ns(message.header))

    def answer_to(self, stamp):
        status = self.wait_until(lambda: self.statuses.get(stamp), f"status of the image stamped {stamp}")
        detection = None
        if status.state != TrackStatus.IDLE:
            detection = self.wait_until(lambda: self.detections.get(stamp), f"detection of the image stamped {stamp}")
        return SimpleNamespace(status=status, detection=detection, box=detection and box_of(detection), stamp=stamp)

    def show_until_answered(self):
        """Publish images until the first is answered: both sides have found each other then."""
        self.wait_until(self.image_publisher.get_subscription_count, "subscriber of image")
        self.wait_until(self.init_publisher.get_subscription_count, "subscriber of init")

        def answered():
            self.publish(self.image_message())
            deadline_s = time.monotonic() + 0.3
            while time.monotonic() < deadline_s and not self.statuses:
                self._executor.spin_once(timeout_sec=0.02)
            return self.statuses

        self.wait_until(answered, "status of any image")
        newest = self.newest_stamp
        self.answer_to(newest)

    def init(self, box, stamp=0, target_id=""):
        self.init_publisher.publish(detection_message(self.header(stamp), box, target_id=target_id))

    def follow(self, box, target_id="", stamp=None):
        """Send init for the newest image and wait until it is answered."""
        stamp = self.newest_stamp if stamp is None else stamp
        newest = self.newest_stamp
        self.detections.pop(newest, None)
        self.init(box, stamp, target_id)
        return self.wait_until(lambda: self.detections.get(newest), "answer to init")

    def call(self, service_type, name, request):
        """Return the answer of a service.

        A server that has not discovered this client's reader yet serves the call, drops its answer after 0.1 s and logs
        that. The same client then asks again, twice at most.
        """
        client = self.client.create_client(service_type, name)
        self.wait_until(client.service_is_ready, f"service {name}")

        def dropped():
            return sum(process.output.count(DROPPED_ANSWER) for process in self.processes)

        for _ in range(3):
            dropped_before = dropped()
            future = client.call_async(request)
            self.wait_until(lambda: future.done() or dropped() > dropped_before, f"answer of {name}")  # noqa: B023
            if future.done():
                break
        self.client.destroy_client(client)
        assert future.done(), f"{name} has dropped its answer three times; {self.what_the_processes_say()}"
        return future.result()

    def set_parameters(self, node, atomically=False, **values):
        """Set parameters (`exit__tau_1=0.5`) as `ros2 param set` does; returns whether and why not."""
        messages: list[ParameterMessage] = [
            Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()
        ]
        if atomically:
            request = SetParametersAtomically.Request(parameters=messages)
            result = self.call(SetParametersAtomically, f"{node}/set_parameters_atomically", request).result
        else:
            request = SetParameters.Request(parameters=messages)
            (result,) = self.call(SetParameters, f"{node}/set_parameters", request).results
        return result.successful, result.reason
