"""dytrack_panel as a process on a live graph, without a browser."""

import time

import cv2
import numpy as np
import pytest
from dytrack_ros.msg import TrackStatus
from panel_clients import Viewer
from panel_graph import HEIGHT, WIDTH, start_camera, start_panel, start_tracker
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.messages import box_of, stamp_ns
from dytrack_ros.nodes.panel.jpeg_stream import PACKET_HEAD


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1, port 0"),
        ({"tracker": "two words"}, "tracker must be a node's name"),
    ],
)
def test_a_wrong_start_is_refused_in_one_line(graph, parameters, words):
    panel = graph.start("dytrack_panel", **{"port": 0} | parameters)
    graph.wait_until(lambda: panel.exit_code is not None, "end of the process")
    assert panel.exit_code == 1
    assert panel.output.splitlines()[-1].startswith("error: ")
    assert words in panel.output
    assert "Traceback" not in panel.output


def test_a_token_of_the_user_is_not_logged(graph):
    panel, _ = start_panel(graph, host="0.0.0.0", token="correct horse battery")
    assert "it asks for the token that was set" in panel.output
    assert "correct horse" not in panel.output


def test_without_a_tracker_every_request_is_answered(graph):
    panel, url = start_panel(graph)
    with Viewer(url) as viewer:
        graph.wait_until(lambda: viewer.last("graph"), "connection")
        assert "no node /tracker_node" in viewer.last("graph")["missing"]
        for to, request in (
            ("set", {"type": "set", "name": "exit.tau_1", "value": 0.5}),
            ("start", {"type": "start", "stamp": "5", "box": [1, 2, 30, 40]}),
            ("stop", {"type": "stop"}),
        ):
            viewer.send(request)
            graph.wait_until(lambda to=to: viewer.last("answer", to=to, ok=False), f"answer to {to}")
    assert "Traceback" not in panel.output


def test_it_listens_only_while_somebody_looks(graph, tiny_weights):
    start_camera(graph)
    start_tracker(graph, tiny_weights)
    panel, url = start_panel(graph, max_rate_hz=5.0)

    def panel_hears(topic):
        names = [info.node_name for info in graph.client.get_subscriptions_info_by_topic(topic)]
        return "dytrack_panel" in names

    graph.wait_until(lambda: graph.client.count_publishers("/status"), "tracker")
    assert not panel_hears("/image") and not panel_hears("/status")
    with Viewer(url, width=320) as viewer:
        graph.wait_until(lambda: viewer.picture_count >= 3, "pictures")
        graph.wait_until(lambda: panel_hears("/image") and panel_hears("/status"), "subscriptions in the graph")
        _, width, height = PACKET_HEAD.unpack_from(viewer.picture)
        picture = cv2.imdecode(np.frombuffer(viewer.picture[PACKET_HEAD.size :], np.uint8), cv2.IMREAD_COLOR)
        assert (width, height, picture.shape) == (WIDTH, HEIGHT, (240, 320, 3))

        before, started_s = viewer.picture_count, time.monotonic()
        graph.wait_until(lambda: time.monotonic() - started_s > 2, "two seconds")
        assert viewer.picture_count - before <= 5 * (time.monotonic() - started_s) + 2  # of ten a second

        viewer.look(0)
        graph.wait_until(lambda: not panel_hears("/image") and not panel_hears("/status"), "end of the subscriptions")
        viewer.look(640)
        count = viewer.picture_count
        graph.wait_until(lambda: viewer.picture_count > count, "pictures again")
    graph.wait_until(lambda: not panel_hears("/image") and not panel_hears("/parameter_events"), "end of all")
    assert panel.exit_code is None


def test_a_box_a_parameter_and_a_stop_go_through_the_graph(graph, tiny_weights):
    inits = {}
    graph.listen_to_tracker()
    graph.listen(Detection2D, "init", inits)
    start_camera(graph)
    start_tracker(graph, tiny_weights)
    _, url = start_panel(graph)
    with Viewer(url, width=640) as viewer:
        graph.wait_until(lambda: viewer.picture and viewer.last("parameters")["parameters"], "picture and parameters")
        sent_s, stamps = 0.0, set()

        def start_until_heard():
            """Send again each second: this test's subscription to init may be found later than the tracker's."""
            nonlocal sent_s
            if time.monotonic() - sent_s > 1:
                sent_s = time.monotonic()
                stamps.add(PACKET_HEAD.unpack_from(viewer.picture)[0])
                viewer.send({"type": "start", "stamp": str(max(stamps)), "box": [100, 80, 60, 40]})
            return stamps & inits.keys()

        stamp = max(graph.wait_until(start_until_heard, "init with the picture's stamp"))
        reply = graph.wait_until(lambda: viewer.last("answer", to="start", ok=True), "answer to the box")
        assert reply["target"].startswith("target-")
        assert box_of(inits[stamp]) == (100, 80, 60, 40)
        assert inits[stamp].header.frame_id == "camera"

        def on_both():
            """A box on the page, and the detection that this test heard of the same image."""
            told = [box for message in viewer.heard if message["type"] == "results" for box in message["boxes"]]
            return next(
                ((box, graph.detections[int(box["stamp"])]) for box in told if int(box["stamp"]) in graph.detections),
                None,
            )

        told, detection = graph.wait_until(on_both, "the same box on the page and on the graph")
        assert told["box"] == pytest.approx(box_of(detection), abs=1e-3)
        assert stamp_ns(detection.header) == int(told["stamp"])

        viewer.send({"type": "set", "name": "exit.tau_1", "value": 0.25})
        graph.wait_until(lambda: viewer.last("answer", name="exit.tau_1", ok=True, value=0.25), "answer")
        viewer.send({"type": "set", "name": "exit.tau_1", "value": 7})
        refusal = graph.wait_until(lambda: viewer.last("answer", name="exit.tau_1", ok=False), "refusal")
        assert refusal["text"] and refusal["value"] == 0.25
        viewer.send({"type": "set", "name": "no.such", "value": 0.9})
        graph.wait_until(lambda: viewer.last("answer", name="no.such", ok=False), "refusal")
        assert graph.set_parameters("/tracker_node", exit__fixed=2)[0]
        graph.wait_until(lambda: viewer.last("values", values={"exit.fixed": 2}), "change from elsewhere")

        with Viewer(url, width=320) as other:
            viewer.send({"type": "start", "stamp": "1", "box": [100, 80, 60, 40]})  # long gone
            refusal = graph.wait_until(lambda: viewer.last("answer", to="start", ok=False), "refusal of an old box")
            assert "stamped" in refusal["text"]
            viewer.send({"type": "stop"})
            graph.wait_until(lambda: viewer.last("answer", to="stop", ok=True), "answer to stop")
            assert not other.last("answer")
        newest = max(graph.statuses)
        graph.wait_until(lambda: max(graph.statuses) > newest, "the next status")
        assert graph.statuses[max(graph.statuses)].state == TrackStatus.IDLE
        viewer.send({"type": "enable", "enabled": False})
        graph.wait_until(lambda: viewer.last("answer", to="enable", ok=True), "answer to enable")
        graph.wait_until(lambda: viewer.last("diagnostics", enabled=False), "the page knows that images are ignored")


def test_after_the_answer_to_a_stop_the_page_hears_no_more_of_that_target(graph, tiny_weights):
    graph.listen_to_tracker()
    start_camera(graph)
    start_tracker(graph, tiny_weights)
    _, url = start_panel(graph, max_rate_hz=1.0)  # results wait for up to a second
    with Viewer(url, width=320) as viewer:
        graph.wait_until(lambda: viewer.picture and viewer.last("graph", found=True), "picture and tracker")
        for number in range(1, 4):
            name = f"target-{number}"

            def is_followed(name=name):
                return any(status.target_id == name for status in graph.statuses.values())

            viewer.send({"type": "start", "stamp": "0", "box": [100, 80, 60, 40]})
            graph.wait_until(is_followed, f"status of {name}")
            viewer.send({"type": "stop"})
            answer = graph.wait_until(
                lambda name=name: viewer.last("answer", to="stop", text=f"stopped following {name}"), "answer"
            )
            count = viewer.picture_count
            graph.wait_until(lambda count=count: viewer.picture_count > count + 1, "two more pictures")
            later = viewer.heard[viewer.heard.index(answer) :]
            statuses = [status for message in later if message["type"] == "results" for status in message["statuses"]]
            assert statuses and {status["state"] for status in statuses} == {"IDLE"}


def test_another_namespace_remapped_images_and_a_tracker_that_comes_and_goes(graph, tiny_weights):
    """The panel finds the tracker's topics without remappings, compressed ones too."""
    start_camera(graph)
    _, url = start_panel(graph, tracker="/left/tracker_node")
    with Viewer(url, width=320) as viewer:
        graph.wait_until(
            lambda: "no node /left/tracker_node" in (viewer.last("graph") or {"missing": ""})["missing"], "why"
        )
        tracker = graph.start(
            "tracker_node", "/left", model=str(tiny_weights), image_transport="compressed", engine="torch"
        )
        graph.wait_until(lambda: viewer.last("graph", found=True), "tracker")
        assert viewer.last("graph")["image"] == "/left/image/compressed"
        graph.wait_until(lambda: "no node publishes /left/image/compressed" in viewer.last("graph")["missing"], "why")
        start_again = graph.start("camera_node", "/left", source="synthetic", loop=True, rate_hz=10.0)
        graph.wait_until(lambda: viewer.picture_count >= 2, "pictures from a compressed topic")
        graph.wait_until(lambda: viewer.last("graph")["missing"] == "", "nothing is missing any more")
        tracker.stop()
        graph.wait_until(lambda: not viewer.last("graph")["found"], "the tracker's end")
        graph.wait_until(lambda: viewer.last("parameters")["parameters"] == [], "the end of its parameters")
        graph.start("tracker_node", "/left", model=str(tiny_weights), engine="torch")
        count = viewer.picture_count
        graph.wait_until(lambda: viewer.picture_count > count and viewer.last("parameters")["parameters"], "its return")
        assert viewer.last("graph")["image"] == "/left/image"
        assert start_again.exit_code is None


def test_an_unreadable_image_is_explained(graph, tiny_weights):
    start_tracker(graph, tiny_weights)
    panel, url = start_panel(graph)
    images = graph.client.create_publisher(Image, "image", 10)
    with Viewer(url, width=320) as viewer:

        def explained():
            images.publish(Image(height=2, width=2, step=6, encoding="neon"))
            graph.hear(0.05)
            return "image encoding 'neon' is unknown" in (viewer.last("graph") or {"missing": ""})["missing"]

        graph.wait_until(explained, "explanation")
    assert panel.exit_code is None and "Traceback" not in panel.output


def test_it_ends_within_a_second_while_a_page_is_open(graph):
    panel, url = start_panel(graph)
    with Viewer(url, width=320) as viewer:
        graph.wait_until(lambda: viewer.heard, "connection")
        started_s = time.monotonic()
        assert panel.stop() == 0
        assert time.monotonic() - started_s < 3
        graph.wait_until(lambda: viewer.close_code, "word of the end")
        assert viewer.close_code == 1001
    assert "Traceback" not in panel.output


def test_two_panels_serve_the_trackers_of_their_namespaces(graph, tiny_weights):
    urls, inits = {}, {"left": {}, "right": {}}
    for side, heard in inits.items():
        graph.listen(Detection2D, f"/{side}/init", heard)
        start_camera(graph, f"/{side}")
        start_tracker(graph, tiny_weights, f"/{side}")
        _, urls[side] = start_panel(graph, f"/{side}")
    assert urls["left"] != urls["right"]
    with Viewer(urls["left"], width=320) as left, Viewer(urls["right"], width=320) as right:
        for viewer in (left, right):
            graph.wait_until(lambda viewer=viewer: viewer.picture and viewer.last("graph", found=True), "tracker")
        right.send({"type": "start", "stamp": "0", "box": [100, 80, 60, 40]})
        graph.wait_until(lambda: right.last("answer", to="start", ok=True), "answer to the box")

        def boxes(viewer):
            return [box for message in viewer.heard if message["type"] == "results" for box in message["boxes"]]

        graph.wait_until(lambda: boxes(right), "box of the target")
        assert not boxes(left)
    assert not inits["left"]
