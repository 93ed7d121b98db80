"""The QoS of tracker_node's images, overridden: what comes, what cannot come, and what is said of it."""

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

NODE = "tracker_node"
OVERRIDE = "qos_overrides./image.subscription."
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
OFFERED = "/client (best_effort, volatile)"
REQUESTED = "reliable, transient_local, keep_last 7"


def test_overrides_are_honoured_and_who_offers_less_is_an_error_with_both_sides_settings(graph, tiny_weights):
    graph.listen_to_diagnostics(DiagnosticArray)
    graph.speak_to_tracker()
    graph.client.destroy_publisher(graph.image_publisher)
    latched = graph.client.create_publisher(Image, "image", LATCHED)
    latched.publish(graph.image_message())  # before there is anybody to hear it
    overrides = {"reliability": "reliable", "durability": "transient_local", "depth": 7}
    process = graph.start(
        NODE, model=str(tiny_weights), engine="torch", **{OVERRIDE + name: value for name, value in overrides.items()}
    )
    graph.wait_until(lambda: "input" in graph.diagnostics, "diagnostics")
    graph.wait_until(lambda: value(graph, "received") == "1", "the image that was published before the node was there")
    assert graph.diagnostics["input"].level != DiagnosticStatus.ERROR

    camera = graph.client.create_publisher(Image, "image", BEST_EFFORT)
    graph.wait_until(lambda: graph.diagnostics["input"].level == DiagnosticStatus.ERROR, "error in diagnostics")
    message = graph.diagnostics["input"].message
    assert message == (
        f"no image can come on /image from {OFFERED}: this node requests {REQUESTED}, more than is offered in "
        f"durability and reliability; lower {OVERRIDE}durability, {OVERRIDE}reliability, or change the publisher"
    )
    graph.wait_until(lambda: value(graph, "refused_publishers") == "1", "the refused publisher in diagnostics")
    line, *repeated = (line for line in process.output.splitlines() if "ncompatible QoS" in line)
    assert "[ERROR]" in line and line.endswith(f"incompatible QoS: {message}")
    assert all(message in line for line in repeated), "repeated after a while, and nothing else said of it"

    graph.client.destroy_publisher(camera)
    graph.wait_until(
        lambda: graph.diagnostics["input"].level == DiagnosticStatus.WARN, "the end of the error in diagnostics"
    )
    assert graph.diagnostics["input"].message.startswith("no image for ")
    assert "on /image, 1 publisher with /client (reliable, transient_local)" in graph.diagnostics["input"].message


def value(graph, key):
    return next(pair.value for pair in graph.diagnostics["input"].values if pair.key == key)
