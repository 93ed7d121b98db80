"""The demo from end to end, with random weights: what does not depend on good ones."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import cv2
import pytest
from ament_index_python.packages import get_package_prefix

DEMO = [Path(get_package_prefix("dytrack_ros"), "lib", "dytrack_ros", "dytrack"), "demo"]
KEYS = {
    "frames_published",
    "frames_received",
    "frames_tracked",
    "mean_iou",
    "exit_histogram",
    "latency_ms",
    "score",
    "budget",
}


def environment():
    return {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}


def run_demo(*arguments):
    return subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, timeout=100, env=environment(), check=False
    )


def test_demo_on_a_synthetic_scene(tmp_path, tiny_weights):
    run = run_demo(
        *("--video", "synthetic", "--seconds", "3", "--rate", "10", "--model", tiny_weights), "--out", tmp_path / "out"
    )
    assert "Traceback" not in run.stdout + run.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary.keys() >= KEYS
    assert summary["frames_published"] == 30
    assert summary["frames_received"] == 30
    assert 1 <= summary["frames_tracked"] <= 30
    assert 0 <= summary["mean_iou"] <= 1
    assert summary["exit_histogram"].keys() == {"1", "2", "3"}
    # The first box is init's own, unless the machine is so slow that init had to be caught up.
    assert sum(summary["exit_histogram"].values()) in (summary["frames_tracked"] - 1, summary["frames_tracked"])
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert 0 <= summary["score"]["mean"] <= 1
    assert summary["model"] == "random_tiny"

    assert summary["budget"]["budget_ms"] >= 0
    assert "budget" in run.stdout

    assert "latency" in run.stdout
    assert "30 frames published, 30 received" in run.stdout
    assert run.returncode == (0 if summary["target_held"] else 1)
    if run.returncode:
        (line,) = run.stderr.splitlines()
        assert line.startswith("demo failed: the target was not held to the end")

    assert cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert cv2.imread(str(tmp_path / "out" / "contact_sheet.png")).shape == (3 * 360, 4 * 480, 3)


@pytest.mark.timeout(200)
def test_the_first_box_is_there_within_a_minute(tmp_path):
    """With the shipped weights, on the default clip, and with an empty cache of graphs: as on a machine just set up."""
    started_s = time.monotonic()
    with subprocess.Popen([*DEMO, "--out", tmp_path], stdout=subprocess.PIPE, text=True, env=environment()) as demo:
        for line in demo.stdout:
            words = line.split()
            if len(words) > 2 and words[1] == "TRACKING" and words[2] != "-":
                break
        seconds = time.monotonic() - started_s
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
    assert seconds < 60
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert 0 < summary["first_box_s"] <= seconds
    assert f"first box after {summary['first_box_s']:.1f} s" in rest


@pytest.mark.parametrize("scene", ["occlusion", "shake"])
def test_scenes_tell_the_overlap_with_the_truth(scene, tmp_path, tiny_weights):
    arguments = ("--scene", scene, "--model", tiny_weights, "--out", tmp_path)
    run = run_demo(*arguments, "--seconds", "3", "--rate", "20")
    assert "Traceback" not in run.stdout + run.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["clip"] == scene
    assert summary["frames_published"] == 60
    assert 0 <= summary["mean_iou"] <= 1
    assert "mean IoU" in run.stdout
    assert ("the target was hidden on frames 39 to" in run.stdout) == (scene == "occlusion")
    assert (tmp_path / scene / "groundtruth.txt").is_file()


def test_an_interrupted_demo_is_written_down_and_leaves_nothing_running(tmp_path, tiny_weights):
    arguments = ["--video", "synthetic", "--rate", "10", "--model", str(tiny_weights), "--out", str(tmp_path)]
    with subprocess.Popen([*DEMO, *arguments], stdout=subprocess.PIPE, text=True, env=environment()) as demo:
        for line in demo.stdout:
            if "TRACKING" in line or "LOST" in line or "UNCERTAIN" in line:
                break
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
    assert "frames published" in rest
    assert json.loads((tmp_path / "summary.json").read_text())["frames_tracked"] >= 1
    assert (tmp_path / "overlay.mp4").stat().st_size > 0
    for log in ("tracker_node.log", "camera_node.log"):
        assert "Traceback" not in (tmp_path / log).read_text()
    # Both write to the folder of the results, so whatever still runs has a file open there.
    assert not [link for link in open_files() if str(tmp_path) in link]


def open_files():
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            yield os.readlink(link)


@pytest.mark.parametrize("what", [("--video", "synthetic"), ("--scene", "follow")])
def test_demo_says_why_the_tracker_did_not_start(what, tmp_path):
    run = run_demo(*what, "--model", "no_such_model", "--out", tmp_path)
    assert run.returncode == 1
    assert "demo failed: tracker_node ended: error: no model 'no_such_model'" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--video", "missing.mp4"], "there is no source 'missing.mp4'"),
        (["--box", "1,2,3"], "must be four numbers x,y,w,h, not '1,2,3'"),
        (["--rate", "0"], "must be a positive number"),
        (["--video", "synthetic", "--box", "900,900,30,30"], "outside the image"),
        (["--box", "1,2,3,4"], "the scenes know their target"),
        (["--scene", "rain"], "invalid choice: 'rain' (choose from"),
    ],
)
def test_demo_refuses_wrong_arguments(arguments, words, tmp_path):
    run = run_demo(*arguments, "--out", tmp_path)
    assert run.returncode
    assert words in run.stderr
    assert "Traceback" not in run.stderr
