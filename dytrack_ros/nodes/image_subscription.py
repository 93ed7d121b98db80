"""The subscription to images: its QoS, who publishes, and who cannot be heard because of an incompatible QoS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

# Those that `qos_overrides` may set; all others stay at defaults that fit every publisher.
_OVERRIDABLE = (QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY, QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)


def image_qos() -> QoSProfile:
    """The profile without overrides; a new one each time, since rclpy writes overrides into the one that it is given.

    Best effort takes from reliable and best-effort cameras alike. The mailbox keeps the newest frame anyway; the short
    queue only bridges the moments in which the executor is busy.
    """
    return QoSProfile(reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5)


class ImageSubscription:
    """Images by best effort, unless the parameters `qos_overrides.<topic>.subscription.*` say otherwise.

    Attributes:
        topic: the resolved name.
        refused: how often the middleware has found a publisher of incompatible QoS.
    """

    def __init__(self, node: Node, message_type: type, topic: str, callback: Callable[[Any], None]) -> None:
        self._node = node
        self.refused = 0
        qos = image_qos()
        options = {"qos_overriding_options": QoSOverridingOptions(_OVERRIDABLE)}
        try:
            events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos)
            subscription = node.create_subscription(
                message_type, topic, callback, qos, event_callbacks=events, **options
            )
        except UnsupportedEventTypeError:  # Humble lets the lack of the event, in some middlewares, through
            subscription = node.create_subscription(message_type, topic, callback, qos, **options)
        self.topic = subscription.topic_name
        self._requested = subscription.qos_profile

    def publishers(self) -> list[str]:
        """The topic's publishers, each with its QoS."""
        return [_in_words(publisher) for publisher in self._publishers()]

    def incompatibility(self) -> str:
        """Which publishers cannot be heard, by which policy, and how to mend it; empty while all can be."""
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

    def _publishers(self) -> list[TopicEndpointInfo]:
        return self._node.get_publishers_info_by_topic(self.topic)

    def _on_incompatible_qos(self, event) -> None:
        # Only counted: `incompatibility` says more than the event knows, and as long as it lasts.
        self.refused = event.total_count


def _unfit(offered: QoSProfile, requested: QoSProfile) -> list[str]:
    """The policies, among those that can be overridden, in which a publisher offers less than is requested."""
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
    if qos.history == HistoryPolicy.KEEP_LAST:  # of other nodes this is not known everywhere
        words.append(f"keep_last {qos.depth}")
    elif qos.history == HistoryPolicy.KEEP_ALL:
        words.append("keep_all")
    return ", ".join(words)
