"""The ROS node of the panel: it connects the ROS graph with the web server."""

from __future__ import annotations

import ctypes
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Log, ParameterEvent
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidTopicNameException
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from rclpy.validate_full_topic_name import validate_full_topic_name
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2D

from dytrack_ros.msg import InitReply, TrackStatus
from dytrack_ros.nodes.faults import UNREADABLE_IMAGE, Faults
from dytrack_ros.nodes.messages import INIT_QOS, detection_message, stamp_ns
from dytrack_ros.nodes.panel.gate import Gate
from dytrack_ros.nodes.panel.jpeg_stream import JpegStream
from dytrack_ros.nodes.panel.parameters import TrackerParameters
from dytrack_ros.nodes.panel.protocol import Request, diagnostics_message, log_message, results_message
from dytrack_ros.nodes.panel.ros_graph import Topics, find_publishers, find_topics, find_trackers, what_is_missing
from dytrack_ros.nodes.panel.server import PanelServer
from dytrack_ros.nodes.panel.service_calls import ServiceCalls
from dytrack_ros.nodes.panel.viewers import Viewer
from dytrack_ros.nodes.parameter_schema import LiveParameters, Parameter
from dytrack_ros.nodes.run import RunnableNode, leave, run
from dytrack_ros.tracking.box import Box

PARAMETERS = (
    Parameter(
        "tracker",
        "tracker_node",
        "Name of the tracker's node, in the panel's own namespace, or absolute such as /left/tracker_node.",
        read_only=True,
    ),
    Parameter(
        "host",
        "127.0.0.1",
        "Address to listen on; 0.0.0.0: all addresses of this machine. Where other machines can connect, browsers must "
        "send the token.",
        read_only=True,
    ),
    Parameter("port", 8020, "Port to listen on; 0: any free one, the log says which.", 0, 65535, read_only=True),
    Parameter(
        "token",
        "",
        "What a browser must send, at least 12 characters; it is not logged. Empty: none where only this machine can "
        "connect, otherwise one that is generated at every start and logged.",
        read_only=True,
    ),
    Parameter(
        "names",
        "",
        "Further host names, separated by commas, by which the page may be opened; addresses, localhost and the "
        "machine's own name are always allowed.",
        read_only=True,
    ),
    Parameter("max_rate_hz", 10.0, "Greatest number of pictures a second for the page.", 0.5, 60.0),
    Parameter("max_width", 960, "Greatest width of a picture for the page, pixels.", 160, 3840),
    Parameter("jpeg_quality", 75, "JPEG quality of a picture for the page.", 10, 95),
)

LOOK_AROUND_S, CALLS_S = 1.0, 0.1
# The results that the fastest camera adds between two pictures of the slowest page.
RESULTS_DEPTH = 100
MAX_WAITING_REQUESTS = 200
# After this time the page is told that an init has no answer yet. A late answer still reaches the page.
INIT_PATIENCE_S = 3.0
MAX_SENT_INITS = 100
# The C library's malloc.h: options of mallopt, the largest MMAP_THRESHOLD (more than an image of 4096x2160 needs), and
# how much freed memory is kept.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MMAP_BYTES, _KEPT_BYTES = 32 * 2**20, 128 * 2**20


class NeverGroup(MutuallyExclusiveCallbackGroup):
    """Keeps the executor from taking messages: the node takes all of a subscription's messages at once instead."""

    def can_execute(self, entity: Any) -> bool:
        return False


@dataclass(eq=False)
class SentInit:
    """An init that the tracker has not answered yet; `deadline_s` is infinite once the page has been told so."""

    stamp_ns: int
    viewer: Viewer
    deadline_s: float


class PanelNode(RunnableNode):
    """Serves a page for one tracker. It subscribes to images and results only while a page is visible.

    Raises:
        ValueError: a refused parameter value, or an address that cannot be listened on.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("dytrack_panel", **node_options)
        self._server: PanelServer | None = None
        self._live = values = LiveParameters(self, PARAMETERS)
        self._faults = Faults(self.get_logger().warning, self.get_logger().error)
        self._tracker = self._absolute(values["tracker"])
        self._topics: Topics | None = None
        self._init: Publisher | None = None  # while there are topics
        self._init_replies: Subscription | None = None  # likewise
        self._sent_inits: deque[SentInit] = deque(maxlen=MAX_SENT_INITS)
        self._last_picture_s = 0.0
        self._unreadable = ""
        self._sent_graph: dict[str, Any] | None = None
        self._results: tuple[Subscription, ...] = ()
        self._while_looking: list[Any] = []
        self._while_connected: list[Any] = []
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._never = NeverGroup()
        self._rate_hz = 0.0

        self._requests: SimpleQueue[tuple[Viewer, Request] | None] = SimpleQueue()
        self._wake = self.create_guard_condition(self._handle_requests)
        names = filter(None, map(str.strip, values["names"].split(",")))
        gate = Gate(values["host"], values["token"], names)
        self._server = PanelServer(
            values["host"], values["port"], gate, self._receive, self._faults.report, self._on_viewers
        )
        self._viewers = self._server.viewers
        self._calls = ServiceCalls(self)
        self._tracker_parameters = TrackerParameters(self._tracker, self._calls, self._viewers.tell)
        self._jpegs = JpegStream(self, self._picture_settings, self._show, self._on_unreadable)
        self._live.on_change(self._on_viewers)
        note = " (it asks for the token that was set)" if gate.token and not gate.is_generated else ""
        self.get_logger().info(f"ready: open {self._server.url} for {self._tracker}{note}")

    def close(self) -> None:
        """End the web server."""
        if self._server is not None:
            self._server.close()

    def _absolute(self, name: str) -> str:
        full_name = name if name.startswith("/") else f"{self.get_namespace().rstrip('/')}/{name}"
        try:
            validate_full_topic_name(full_name)
        except InvalidTopicNameException as error:
            raise ValueError(
                f"tracker must be a node's name such as tracker_node or /left/tracker_node, not {name!r}"
            ) from error
        return full_name

    # ---- the server's thread

    def _receive(self, viewer: Viewer, request: Request) -> None:
        """Pass a request on to the executor's thread. Requests beyond MAX_WAITING_REQUESTS are dropped: the page gets
        no answer and shows the old value again."""
        if self._requests.qsize() < MAX_WAITING_REQUESTS:
            self._requests.put((viewer, request))
            self._wake.trigger()

    def _on_viewers(self) -> None:
        """Tell the executor's thread that pages have come, gone, or become visible or hidden."""
        self._requests.put(None)
        self._wake.trigger()

    # ---- the executor's thread: requests

    def _handle_requests(self) -> None:
        has_new_viewers = False
        while True:
            try:
                item = self._requests.get_nowait()
            except Empty:
                break
            if item is None:
                has_new_viewers = True
                continue
            viewer, request = item
            if request["type"] == "set":
                self._tracker_parameters.set(request["name"], request["value"], viewer)
            elif request["type"] == "start":
                self._start(request["stamp"], request["box"], viewer)
            elif request["type"] == "stop":
                self._call("stop", Trigger, Trigger.Request(), viewer)
            else:
                self._call("enable", SetBool, SetBool.Request(data=request["enabled"]), viewer)
        if has_new_viewers:
            self._follow_viewers()

    def _start(self, stamp: int, box: Box, viewer: Viewer) -> None:
        if self._topics is None or self._init is None:
            self._answer(viewer, "start", False, f"there is no tracker {self._tracker}")
            return
        if not self._init.get_subscription_count():
            self._answer(
                viewer, "start", False, f"no node subscribes to {self._topics.init} yet; try again in a moment"
            )
            return
        header = Header(frame_id=self._jpegs.header.frame_id if self._jpegs.header else "")
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        self._sent_inits.append(SentInit(stamp, viewer, time.monotonic() + INIT_PATIENCE_S))
        self._init.publish(detection_message(header, box))

    def _on_init_reply(self, message: InitReply) -> None:
        stamp = stamp_ns(message.header)
        for sent in self._sent_inits:
            if sent.stamp_ns == stamp:
                self._sent_inits.remove(sent)
                self._answer(sent.viewer, "start", message.accepted, message.reason, target=message.target_id)
                return

    def _tell_unanswered_inits(self) -> None:
        for sent in self._sent_inits:
            if time.monotonic() > sent.deadline_s:
                sent.deadline_s = math.inf
                text = f"no answer from the tracker for {INIT_PATIENCE_S:g} s. Does it run, and do images arrive?"
                self._answer(sent.viewer, "start", False, text)

    def _call(self, name: str, service_type: type, request: Any, viewer: Viewer) -> None:
        self._calls.call(
            service_type,
            f"{self._tracker}/{name}",
            request,
            lambda response: self._answer(viewer, name, response.success, response.message),
            lambda reason: self._answer(viewer, name, False, reason),
        )

    def _answer(self, viewer: Viewer, to: str, ok: bool, text: str, **more: Any) -> None:
        """Answer the page that asked. Results that came before are sent first, so that a page that is told of a stop
        gets no older status after it."""
        self._tell_results()
        self._viewers.tell({"type": "answer", "to": to, "ok": ok, "text": text, **more}, viewer)

    # ---- the executor's thread: subscriptions

    def _follow_viewers(self) -> None:
        if bool(len(self._viewers)) != bool(self._while_connected):
            (self._begin_connection if len(self._viewers) else self._end_connection)()
        if self._viewers:
            self._sent_graph = None  # a new page has not got it yet
            self._look_around()
            self._tracker_parameters.show()
        rate_hz = self._live["max_rate_hz"] if self._viewers.looking else 0.0
        if rate_hz != self._rate_hz:
            self._rate_hz = rate_hz
            self._subscribe_anew()

    def _begin_connection(self) -> None:
        self._while_connected = [
            self.create_timer(LOOK_AROUND_S, self._look_around, clock=self._steady),
            self.create_timer(CALLS_S, self._calls.look, clock=self._steady),
            self.create_subscription(ParameterEvent, "/parameter_events", self._tracker_parameters.changed, 100),
            self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10),
            self.create_subscription(Log, "/rosout", self._on_log, 100),
        ]
        self._last_picture_s = time.monotonic()

    def _end_connection(self) -> None:
        self._destroy(self._while_connected)
        self._calls.close()
        self._turn_to(None)

    def _look_around(self) -> None:
        """Check whether the tracker and its camera are there."""
        topics = find_topics(self, self._tracker)
        if topics != self._topics:
            self._turn_to(topics)
        if topics and not self._tracker_parameters.are_known and self._tracker_parameters.can_be_read:
            self._tracker_parameters.load()
        self._tell_unanswered_inits()
        self._tell_graph()

    def _turn_to(self, topics: Topics | None) -> None:
        self._topics = topics
        self._destroy([self._init, self._init_replies])
        self._init = self._init_replies = None
        if topics:
            self._init = self.create_publisher(Detection2D, topics.init, INIT_QOS)
            self._init_replies = self.create_subscription(InitReply, topics.init_reply, self._on_init_reply, 10)
        self._subscribe_anew()
        if topics is None:
            self._tracker_parameters.forget()
        else:
            self._calls.prepare(Trigger, f"{self._tracker}/stop")
            self._calls.prepare(SetBool, f"{self._tracker}/enable")
            self._tracker_parameters.prepare()

    def _tell_graph(self) -> None:
        topics = self._topics
        publishers = find_publishers(self, topics.image) if topics else []
        silent_s = time.monotonic() - self._last_picture_s if self._viewers.looking else 0.0
        others = [] if topics else find_trackers(self)
        graph = {
            "type": "graph",
            "tracker": self._tracker,
            "found": topics is not None,
            "image": topics.image if topics else "",
            "missing": what_is_missing(self._tracker, topics, others, publishers, silent_s, self._unreadable),
        }
        if graph != self._sent_graph:
            self._sent_graph = graph
            self._viewers.tell(graph)

    def _subscribe_anew(self) -> None:
        """Subscribe to images and results if a page is visible and the tracker is there, otherwise to nothing."""
        self._jpegs.end()
        self._results = ()
        self._destroy(self._while_looking)
        self._last_picture_s = time.monotonic()
        self._unreadable = ""
        topics = self._topics
        if topics and self._rate_hz:
            self._jpegs.begin(topics.image, topics.is_compressed)
            self._results = tuple(
                self.create_subscription(kind, topic, lambda message: None, RESULTS_DEPTH, callback_group=self._never)
                for kind, topic in ((TrackStatus, topics.status), (Detection2D, topics.detection))
            )
            self._while_looking = [*self._results, self.create_timer(1 / self._rate_hz, self._tick, clock=self._steady)]

    def _destroy(self, entities: list[Any]) -> None:
        for entity in filter(None, entities):
            for destroy in (self.destroy_timer, self.destroy_subscription, self.destroy_publisher):
                if destroy(entity):
                    break
        entities.clear()

    # ---- the executor's thread: messages

    def _tick(self) -> None:
        if self._viewers.wants_picture:
            self._jpegs.take_next()
        self._tell_results()

    def _tell_results(self) -> None:
        if not self._results:  # no page is visible
            return
        statuses, detections = (list(_take_all(subscription)) for subscription in self._results)
        if statuses or detections:
            self._viewers.tell(results_message(statuses, detections))

    def _picture_settings(self) -> tuple[int, int]:
        return min(self._live["max_width"], self._viewers.width or 1), self._live["jpeg_quality"]

    def _show(self, packet: bytes) -> None:
        self._last_picture_s = time.monotonic()
        self._unreadable = ""
        self._viewers.show(packet)

    def _on_unreadable(self, sentence: str) -> None:
        self._unreadable = sentence
        self._faults.report(UNREADABLE_IMAGE, sentence)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if told := diagnostics_message(self._tracker, message.status):
            self._viewers.tell(told)

    def _on_log(self, message: Log) -> None:
        # The name of a logger is the node's full name with dots.
        if message.name == self._tracker.strip("/").replace("/", ".") and (told := log_message(message)):
            self._viewers.tell(told)


def _take_all(subscription: Subscription) -> Iterator[Any]:
    """Take all messages that have come."""
    while True:
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, False)
        if taken is None:
            return
        yield taken[0]


def keep_freed_memory() -> bool:
    """Let the C library keep freed buffers of images for the next ones; returns False if it is not GNU's.

    Otherwise it returns them to the kernel after each image and gets them again page by page, which takes a third of
    the panel's time at ten images of 1280x720 a second.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))


def main(args: list[str] | None = None) -> NoReturn:
    """Entry point of `ros2 run dytrack_ros dytrack_panel`; ends the process."""
    cv2.setNumThreads(1)  # at these sizes several threads cost more than they save
    keep_freed_memory()
    leave(run(PanelNode, args))


if __name__ == "__main__":
    main()
