"""A camera that changes its resolution while a target is followed."""

import numpy as np
import pytest
from still_engine import StillEngine

from dytrack_ros.tracking import DyTracker, TrackerConfig, TrackState
from dytrack_ros.tracking.recovery import RecoverySettings
from dytrack_ros.tracking.resolution import Resolution

BOX = (400.0, 300.0, 40.0, 40.0)


def picture(width, height):
    return np.zeros((height, width, 3), np.uint8)


@pytest.fixture
def tracker():
    tracker = DyTracker(StillEngine())
    tracker.initialize(picture(640, 480), BOX)
    return tracker


def boxes(tracker, *sizes):
    return [tracker.track(picture(*size)).box for size in sizes]


def test_the_box_is_scaled_with_the_image(tracker):
    half = (200, 150, 20, 20)
    assert boxes(tracker, (640, 480), (320, 240), (320, 240), (640, 480)) == [BOX, half, half, BOX]


@pytest.mark.parametrize("stray", [(1, 1), (3, 2000), (1920, 1080), (16, 12)])
def test_one_stray_image_of_any_size_does_not_move_the_box(tracker, stray):
    _, _, after, later = boxes(tracker, (640, 480), stray, (640, 480), (640, 480))
    assert after == later == BOX


def test_an_init_starts_with_its_own_images_size(tracker):
    boxes(tracker, (640, 480), (320, 240))
    tracker.initialize(picture(1280, 720), BOX)
    assert boxes(tracker, (1280, 720)) == [BOX]


def test_width_and_height_count_apart():
    resolution = Resolution(100, 200)
    assert resolution.change(100, 200, ((10, 20, 30, 40),)) is None
    assert resolution.change(50, 400, ((10, 20, 30, 40), (2, 2, 2, 2))) == ((5, 40, 15, 80), (1, 4, 1, 4))
    assert resolution.change(50, 400, ((5, 40, 15, 80),)) is None
    assert resolution.change(100, 200, ((5, 40, 15, 80),)) == ((10, 20, 30, 40),)


def test_a_lost_target_is_looked_for_at_its_place_in_the_new_size(tracker):
    tracker.set_config(TrackerConfig(recovery=RecoverySettings()))
    tracker.engine.score = 0.0
    boxes(tracker, *[(640, 480)] * 6)
    assert tracker.track(picture(640, 480)).state == TrackState.LOST
    assert boxes(tracker, (320, 240), (320, 240)) == [(200, 150, 20, 20)] * 2
    assert boxes(tracker, (1, 1), (320, 240)) == [(200 / 320, 150 / 240, 20 / 320, 20 / 240), (200, 150, 20, 20)]
