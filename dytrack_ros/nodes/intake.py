"""Reception of images: the subscription, who publishes, and the check of the stamps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image

from dytrack_ros.nodes.faults import ODD_STAMP
from dytrack_ros.nodes.frame_buffers import Frame, FrameRing, Mailbox
from dytrack_ros.nodes.messages import image_qos

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

# An older stamp is reordering by the network up to this, and a time jump beyond.
TIME_JUMP_NS = 1_000_000_000

# Of a node whose discovery data cannot be read.
_UNKNOWN_NAME = "_NODE_NAME_UNKNOWN_"
_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

# Policies that `qos_overrides` may set; all others are compatible with every publisher.
_OVERRIDABLE = (QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY, QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)


class Intake:
    """Numbers images, checks their stamps and passes them on; runs in the executor thread.

    Rules for a stamp that is older than the last accepted one, or more than a second newer:

    1. A single one is not accepted. The image is skipped if the stamp is older, and used if it is newer.
    2. Two in a row on the same side are accepted.
    3. If the accepted stamps are more than a second older, time has jumped: the kept frames are dropped and
       `on_time_jump` is called.

    Attributes:
        received: number of images received.
        late: number of images skipped because they came up to a second too late.
        last_received_s: arrival of the last image on the monotonic clock (at first: creation of the intake).
    """

    def __init__(
        self,
        ring: FrameRing,
        mailbox: Mailbox,
        on_time_jump: Callable[[float], None],
        report: Callable[[str, str], None],
    ) -> None:
        """
        Args:
            on_time_jump: called with the seconds that time went back, after the older frames are dropped.
            report: takes the kind of a fault and a sentence about it.
        """
        self._ring = ring
        self._mailbox = mailbox
        self._on_time_jump = on_time_jump
        self._report = report
        self._time_ns = 0  # the newest accepted stamp
        self._odd: Frame | None = None  # the previous image, if its stamp was not accepted
        self.received = 0
        self.late = 0
        self.last_received_s = time.monotonic()

    def receive(self, message: Any, stamp_ns: int) -> None:
        """Take one image message with the stamp of its header."""
        self.received += 1
        self.last_received_s = time.monotonic()
        frame = Frame(self.received, stamp_ns, self.last_received_s, message)
        odd, self._odd = self._odd, None
        ahead_ns = stamp_ns - self._time_ns
        if 0 <= ahead_ns <= TIME_JUMP_NS:
            self._reject(odd)
        elif odd is None or (odd.stamp_ns > self._time_ns) != (ahead_ns > 0):
            self._reject(odd)
            self._odd = frame
            if ahead_ns > 0:
                self._pass_on(frame)
            else:
                self._ring.is_in_doubt = True
            return
        elif ahead_ns < -TIME_JUMP_NS:
            self._ring.clear()
            self._mailbox.clear()
            self._on_time_jump(-ahead_ns * 1e-9)
            self._ring.append(odd)  # an init may name it
        elif ahead_ns < 0:
            self.late += 1
        self._time_ns = stamp_ns
        self._pass_on(frame)

    def _pass_on(self, frame: Frame) -> None:
        self._ring.append(frame)
        self._mailbox.put(frame)

    def _reject(self, odd: Frame | None) -> None:
        if odd is None:
            return
        ahead_ns = odd.stamp_ns - self._time_ns
        if -TIME_JUMP_NS <= ahead_ns < 0:
            self.late += 1
            return
        place, fate = ("after", "not accepted") if ahead_ns > 0 else ("before", "not accepted, and the image skipped")
        self._report(
            ODD_STAMP,
            f"{odd.stamp_ns * 1e-9:.3f} s, {abs(ahead_ns) * 1e-9:.1f} s {place} the other images, was {fate}; "
            "the camera driver must stamp every image with the time at which it was taken",
        )


class ImageSubscription:
    """Subscribes to images; the parameters `qos_overrides.<topic>.subscription.*` may change the QoS.

    Attributes:
        topic: the resolved name.
        refused: how often the middleware has found a publisher with an incompatible QoS.
    """

    def __init__(self, node: Node, compressed: bool, callback: Callable[[Any], None]) -> None:
        self._node = node
        self._compressed = compressed
        self.refused = 0
        # The compressed topic follows a remapping of `image`, as with image_transport.
        topic = node.resolve_topic_name("image") + ("/compressed" if compressed else "")
        message_type = CompressedImage if compressed else Image
        qos = image_qos()
        options: dict[str, Any] = {"qos_overriding_options": QoSOverridingOptions(_OVERRIDABLE)}
        try:
            events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos)
            subscription = node.create_subscription(
                message_type, topic, callback, qos, event_callbacks=events, **options
            )
        except UnsupportedEventTypeError:  # some middlewares under Humble lack this event
            subscription = node.create_subscription(message_type, topic, callback, qos, **options)
        self.topic = subscription.topic_name
        self._requested = subscription.qos_profile

    def publishers(self) -> list[str]:
        """Describe the topic's publishers, each with its QoS."""
        return [_in_words(publisher) for publisher in self._publishers()]

    def wiring(self) -> str:
        """Say why the present publishers cannot be received and which argument mends it; empty if unknown."""
        base = self.topic.removesuffix("/compressed")
        here = self._publishers()
        types = {publisher.topic_type for publisher in here}
        if self._compressed:
            if _IMAGE in types:
                return f"{self.topic} carries raw images: start with image_transport:=raw image:={self.topic}"
            of_base = {publisher.topic_type for publisher in self._publishers(base)}
            if _COMPRESSED in of_base and not here:
                topic = base.removesuffix("/compressed")
                return f"{base} carries compressed images: start with image:={topic}, /compressed is added to it"
            if _IMAGE in of_base and not here:
                return f"{base} carries raw images: start with image_transport:=raw"
        elif _COMPRESSED in types:
            return f"{self.topic} carries compressed images: start with image_transport:=compressed image:={base}"
        elif not here and self._publishers(f"{self.topic}/compressed"):
            return f"{self.topic}/compressed carries compressed images: start with image_transport:=compressed"
        wanted = _COMPRESSED if self._compressed else _IMAGE
        if here and wanted not in types:
            return f"its type is {', '.join(sorted(types))}, not {wanted}: remap image to another topic"
        if any(publisher.node_name == _UNKNOWN_NAME for publisher in here):
            return (
                "a publisher's name is unknown, as if another user runs it: run both as the same user, "
                "or switch off the shared memory of the middleware"
            )
        return ""

    def incompatibility(self) -> str:
        """Describe the publishers with an incompatible QoS, the policies at fault and the fix; empty without any."""
        unfit = [(publisher, _unfit(publisher.qos_profile, self._requested)) for publisher in self._publishers()]
        unfit = [(publisher, policies) for publisher, policies in unfit if policies]
        if not unfit:
            return ""
        policies = sorted({policy for _, of_one in unfit for policy in of_one})
        offers = "; ".join(_in_words(publisher) for publisher, _ in unfit)
        override = f"qos_overrides.{self.topic}.subscription"
        return (
            f"no image can come on {self.topic} from {offers}: this node requests {_settings(self._requested)}, "
            f"more than is offered in {' and '.join(policies)}; "
            f"lower {', '.join(f'{override}.{policy}' for policy in policies)}, or change the publisher"
        )

    def _publishers(self, topic: str = "") -> list[TopicEndpointInfo]:
        return self._node.get_publishers_info_by_topic(topic or self.topic)

    def _on_incompatible_qos(self, event) -> None:
        # Only counted: `incompatibility` has the details.
        self.refused = event.total_count


def _unfit(offered: QoSProfile, requested: QoSProfile) -> list[str]:
    """Return the overridable policies in which a publisher offers less than is requested."""
    policies = []
    if (requested.reliability, offered.reliability) == (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT):
        policies.append("reliability")
    if (requested.durability, offered.durability) == (DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE):
        policies.append("durability")
    return policies


def _in_words(publisher: TopicEndpointInfo) -> str:
    name = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
    return f"{name} ({_settings(publisher.qos_profile)})"


def _settings(qos: QoSProfile) -> str:
    words = [qos.reliability.name.lower(), qos.durability.name.lower()]
    if qos.history == HistoryPolicy.KEEP_LAST:  # some middlewares do not tell it of other nodes
        words.append(f"keep_last {qos.depth}")
    elif qos.history == HistoryPolicy.KEEP_ALL:
        words.append("keep_all")
    return ", ".join(words)
