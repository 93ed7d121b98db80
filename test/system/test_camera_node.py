"""camera_node as a process."""

import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import UInt32
from vision_msgs.msg import Detection2D

from dytrack_ros.nodes.demo.camera_node import COUNT_QOS
from dytrack_ros.nodes.demo.scenes import SyntheticScene
from dytrack_ros.nodes.images import open_compressed, to_bgr
from dytrack_ros.nodes.messages import box_of, stamp_ns

FRAMES = 20


def test_synthetic_scene_with_truth_and_init(graph):
    compressed, inits, counts = {}, [], []
    graph.listen(Image, "image", graph.images)
    graph.listen(Detection2D, "truth", graph.truths)
    graph.listen(CompressedImage, "image/compressed", compressed)
    graph.client.create_subscription(Detection2D, "init", inits.append, 10)
    graph.client.create_subscription(UInt32, "frames_published", lambda message: counts.append(message.data), COUNT_QOS)
    process = graph.start(
        "camera_node",
        source="synthetic",
        frames=FRAMES,
        rate_hz=20.0,
        synthetic__width=320,
        synthetic__height=240,
        synthetic__seed=7,
        frame_id="eye",
        publish_init=True,
        start_when_subscribed=2,
    )
    graph.wait_until(lambda: len(graph.images) == FRAMES, "whole clip")
    graph.wait_until(lambda: process.exit_code is not None, "end of the process")
    assert process.exit_code == 0, process.output
    graph.wait_until(lambda: len(graph.truths) == len(compressed) == FRAMES, "truth of every frame")

    scene = SyntheticScene(320, 240, 7)
    assert sorted(graph.images) == sorted(graph.truths) == sorted(compressed)
    for index, (stamp, image) in enumerate(sorted(graph.images.items())):
        picture, box = scene.frame(index)
        np.testing.assert_array_equal(to_bgr(image), picture)
        assert box_of(graph.truths[stamp]) == pytest.approx(box)
        assert graph.truths[stamp].header == image.header
        assert graph.truths[stamp].results[0].hypothesis.class_id == "target"
        assert compressed[stamp].header == image.header
    assert np.abs(open_compressed(compressed[stamp]).bgr().astype(int) - picture).mean() < 8

    assert image.header.frame_id == "eye"
    (init,) = inits
    assert stamp_ns(init.header) == min(graph.images)
    assert box_of(init) == pytest.approx(scene.frame(0)[1])
    assert counts[-1] == FRAMES


def test_a_folder_in_a_loop_with_a_given_box(graph, tmp_path):
    import cv2

    (tmp_path / "clip").mkdir()
    for number in range(1, 4):
        cv2.imwrite(str(tmp_path / "clip" / f"{number}.png"), np.full((20, 30, 3), 50 * number, np.uint8))
    inits = {}
    graph.listen(Image, "image", graph.images)
    graph.listen(Detection2D, "init", inits)
    graph.start(
        "camera_node",
        source=str(tmp_path / "clip"),
        rate_hz=30.0,
        loop=True,
        publish_init=True,
        init_box=[1.0, 2.0, 3.0, 4.0],
        start_when_subscribed=1,
    )
    graph.wait_until(lambda: len(graph.images) >= 8 and len(inits) >= 2, "second round")
    greys = {stamp: int(to_bgr(image).mean()) for stamp, image in sorted(graph.images.items())}
    assert list(greys.values())[:8] == [50, 100, 150, 50, 100, 150, 50, 100]
    assert {greys[stamp] for stamp in inits if stamp in greys} == {50}
    assert {box_of(init) for init in inits.values()} == {(1.0, 2.0, 3.0, 4.0)}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"source": "missing.mp4"}, "there is no source 'missing.mp4'"),
        ({"source": "synthetic", "rate_hz": -1.0}, "rate_hz"),
        (
            {"source": "synthetic", "publish_init": True, "init_box": [900.0, 10.0, 40.0, 40.0]},
            "lies outside the image",
        ),
        ({"source": "synthetic", "publish_init": True, "init_box": [10.0, 10.0, 0.5, 40.0]}, "at least 2 px"),
    ],
)
def test_a_wrong_start_is_refused_in_one_line(graph, parameters, words):
    process = graph.start("camera_node", **parameters)
    graph.wait_until(lambda: process.exit_code is not None, "end of the process")
    assert process.exit_code == 1
    assert process.output.splitlines()[-1].startswith("error: ")
    assert words in process.output
    assert "Traceback" not in process.output
