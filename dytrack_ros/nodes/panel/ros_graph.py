"""Finds the topics of a tracker in the ROS graph, so that remappings need not be repeated for the panel."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.node import Node, NodeNameNonExistentError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
DETECTION = "vision_msgs/msg/Detection2D"
STATUS = "dytrack_ros/msg/TrackStatus"
INIT_REPLY = "dytrack_ros/msg/InitReply"

SILENCE_S = 3.0


@dataclass(frozen=True)
class Topics:
    """The topics of one tracker, by their full names."""

    image: str
    is_compressed: bool
    init: str
    init_reply: str
    detection: str
    status: str


def find_topics(node: Node, tracker: str) -> Topics | None:
    """Return the topics of the node named ``tracker`` (with its namespace); None while not all of them are there.

    Each topic is recognised by its type and by whether the tracker publishes it or subscribes to it.
    """
    namespace, _, name = tracker.rpartition("/")
    try:
        heard = node.get_subscriber_names_and_types_by_node(name, namespace or "/")
        said = node.get_publisher_names_and_types_by_node(name, namespace or "/")
    except NodeNameNonExistentError:
        return None
    image = _topic(heard, IMAGE)
    compressed = _topic(heard, COMPRESSED_IMAGE)
    topics = Topics(
        image=image or compressed,
        is_compressed=not image,
        init=_topic(heard, DETECTION),
        init_reply=_topic(said, INIT_REPLY),
        detection=_topic(said, DETECTION),
        status=_topic(said, STATUS),
    )
    is_complete = all((topics.image, topics.init, topics.init_reply, topics.detection, topics.status))
    return topics if is_complete else None


def find_publishers(node: Node, topic: str) -> list[str]:
    """Return the full names of the nodes that publish a topic."""
    found = node.get_publishers_info_by_topic(topic)
    return sorted({f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}" for publisher in found})


def find_trackers(node: Node) -> list[str]:
    """Return the full names of all nodes that publish a status."""
    topics = [topic for topic, types in node.get_topic_names_and_types() if STATUS in types]
    return sorted({name for topic in topics for name in find_publishers(node, topic)})


def what_is_missing(
    tracker: str, topics: Topics | None, others: list[str], publishers: list[str], silent_s: float, unreadable: str
) -> str:
    """Return why the page shows no new picture, and what to do; empty if nothing is missing.

    Args:
        others: the trackers that run.
        publishers: the nodes that publish the image topic.
        silent_s: how long no image has come although a page is visible.
        unreadable: what is wrong with the last image, empty if nothing.
    """
    if topics is None:
        running = f"; these trackers run: {', '.join(others)}" if others else ""
        return (
            f"No tracker: there is no node {tracker}{running}. Start it (ros2 run dytrack_ros tracker_node), "
            "or name another one with the panel's parameter tracker."
        )
    if not publishers:
        return f"No image: no node publishes {topics.image}. Start the camera, or the tracker with image:=TOPIC."
    if unreadable:
        return f"No image: {unreadable}."
    if silent_s > SILENCE_S:
        return (
            f"No image for {silent_s:.0f} s on {topics.image}, which {', '.join(publishers)} publishes. Does the "
            "camera run? Large images need the Fast DDS profile in the camera's process, see README."
        )
    return ""


def _topic(names_and_types: list[tuple[str, list[str]]], message_type: str) -> str:
    return next((name for name, types in names_and_types if message_type in types), "")
