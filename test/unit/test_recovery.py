"""UNCERTAIN, LOST and the way back: states, search windows, appearance, and the tracker on moving pictures."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from still_engine import StillEngine

from dytrack_ros.policies import FixedThresholds
from dytrack_ros.tracking import DyTracker, RecoverySettings, StateThresholds, TrackerConfig, TrackState
from dytrack_ros.tracking.box import iou
from dytrack_ros.tracking.crop import CropWindow
from dytrack_ros.tracking.recovery import Appearance, Recovery, describe, search_windows
from dytrack_ros.tracking.state import TargetState

TRACKING, UNCERTAIN, LOST = TrackState.TRACKING, TrackState.UNCERTAIN, TrackState.LOST


# --- states ----------------------------------------------------------------------------------------------------------


def states(scores, **thresholds):
    state, limits = TargetState(), StateThresholds(**{"lost_frames": 3, **thresholds})
    state.start()
    return [state.observe(score, limits) for score in scores]


def test_doubt_needs_more_than_the_threshold_to_end():
    assert states([0.6, 0.49, 0.5, 0.54, 0.55, 0.5]) == [TRACKING, UNCERTAIN, UNCERTAIN, UNCERTAIN, TRACKING, TRACKING]


def test_a_target_is_lost_after_some_frames_in_a_row():
    assert states([0.1, 0.1, 0.4, 0.1, 0.1, 0.1]) == [*[UNCERTAIN] * 5, LOST]
    assert states([0.1], lost_frames=1) == [LOST]


def test_only_a_find_ends_lost():
    state, limits = TargetState(), StateThresholds(lost_frames=1)
    state.start()
    assert state.observe(0.1, limits) == LOST
    assert state.observe(0.99, limits) == LOST
    state.found()
    assert state.observe(0.99, limits) == TRACKING
    state.stop()
    assert state.now == TrackState.IDLE


def test_thresholds_of_zero_never_lose():
    assert set(states([0.0, 0.3, 1.0], lost=0.0, uncertain=0.0)) == {TRACKING}


@pytest.mark.parametrize(
    "values", [{"hysteresis": -0.1}, {"lost_frames": 0}, {"lost": float("nan")}, {"uncertain": 0.2, "lost": 0.5}]
)
def test_thresholds_that_mean_nothing_are_refused(values):
    with pytest.raises(ValueError, match="must"):
        StateThresholds(**values)


# --- where to look ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.tuples(st.floats(-30, 700), st.floats(-30, 500), st.floats(4, 300), st.floats(4, 300)),
    st.integers(60, 800),
    st.integers(60, 600),
)
def test_the_search_covers_the_image_and_begins_where_the_target_was(box, width, height):
    box = (min(box[0], width - 1), min(box[1], height - 1), *box[2:])
    windows = search_windows(box, width, height, 4.0)
    home, widened = next(windows), next(windows)
    for window in (home, widened):
        assert window.left + window.side / 2 == pytest.approx(box[0] + box[2] / 2)
        assert window.top + window.side / 2 == pytest.approx(box[1] + box[3] / 2)
    count = 3 * (width // (widened.side / 2) + 2) * (height // (widened.side / 2) + 2)
    seen = np.zeros((height, width), bool)
    for window in (widened, *itertools.islice(windows, int(2 * count))):
        left, top = max(window.left, 0), max(window.top, 0)
        seen[int(np.ceil(top)) : int(window.top + window.side), int(np.ceil(left)) : int(window.left + window.side)] = (
            True
        )
    # Whole pixels alone are counted as seen, so the seams and the rim may miss one.
    assert seen[1:-1, 1:-1].mean() > 0.97


def test_the_search_goes_outwards():
    windows = list(itertools.islice(search_windows((300, 200, 20, 20), 640, 480, 4.0), 60))
    home, widened = windows[:2]
    assert (home.side, widened.side) == (80, 120)
    assert windows[::3] == [home] * 20 and windows[1::3] == [widened] * 20
    distances = [np.hypot(window.left - widened.left, window.top - widened.top) for window in windows[2::3]]
    assert 0 < distances[0] and distances == sorted(distances)


# --- what it looks like ----------------------------------------------------------------------------------------------


def scene(seed=0, shape=(240, 320)):
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (shape[0] // 8, shape[1] // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def test_descriptors_tell_the_target_from_the_rest():
    image = scene()
    look = describe(image, (50, 60, 40, 40))
    assert look.similarity(look) == pytest.approx(1)
    brighter = np.clip(image * 0.8 + 20, 0, 255).astype(np.uint8)
    assert describe(brighter, (50, 60, 40, 40)).structure @ look.structure > 0.95
    assert look.similarity(describe(image, (51, 61, 40, 40))) > 0.8
    assert all(look.similarity(describe(image, (x, 160, 40, 40))) < 0.5 for x in range(0, 270, 30))
    assert describe(np.zeros((50, 50, 3), np.uint8), (10, 10, 20, 20)).similarity(look) < 0.5  # nothing to see, no NaN


def test_the_first_descriptor_stays_and_later_ones_are_learned():
    first, later = scene(1), scene(2)
    box = (100, 100, 40, 40)
    appearance = Appearance(first, box, kept=2)
    assert appearance.similarity(later, box) < 0.5
    for _ in range(Appearance.EVERY):
        appearance.remember(later, box)
    assert appearance.similarity(later, box) == pytest.approx(1)
    for seed in range(3, 8):
        for _ in range(Appearance.EVERY):
            appearance.remember(scene(seed), box)
    assert appearance.similarity(first, box) == pytest.approx(1)
    assert appearance.similarity(later, box) < 0.6, "the oldest of the later ones go first"


def test_a_find_must_be_sure_alike_and_seen_twice():
    image, box, settings = scene(), (100.0, 80.0, 40.0, 40.0), RecoverySettings()
    recovery = Recovery(image, box)
    home = recovery.window(320, 240, 4.0, settings)
    assert not recovery.is_found(image, box, False, settings), "not sure"
    assert not recovery.is_found(image, (250.0, 10.0, 40.0, 40.0), True, settings), "far and not alike"
    assert not recovery.is_found(image, box, True, settings), "the first time"
    checked = recovery.window(320, 240, 4.0, settings)
    assert checked == home, "that is where it was seen for the first time"
    assert recovery.is_found(image, box, True, settings)
    assert recovery.last_seen == box
    anything = RecoverySettings(match=-1)
    elsewhere = (10.0, 10.0, 40.0, 40.0)
    assert not recovery.is_found(image, elsewhere, True, anything)
    assert recovery.window(320, 240, 4.0, settings) == CropWindow.around(elsewhere, 4.0)
    assert recovery.is_found(image, (12.0, 10.0, 40.0, 40.0), True, anything)


# --- the tracker -----------------------------------------------------------------------------------------------------


class SquareEngine(StillEngine):
    """Never wrong: sees the one red square in its search region, or says that it is not there."""

    def begin(self, search):
        red = (search[..., 0] > 180) & (search[..., 1] < 80)
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        self.seen = red.sum() > 200
        corners = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if self.seen else ()
        self.box = np.array(corners) / 256 if self.seen else np.array([0.375, 0.375, 0.625, 0.625])
        self.box = self.box.astype(np.float32)

    def advance(self):
        return 0.9 if self.seen else 0.1

    def locate(self, log_prior=None):
        return self.box


def moving_square(places):
    frames = []
    for place in places:
        frame = (scene(3) // 8).astype(np.uint8)
        if place:
            x, y = place
            frame[y : y + 24, x : x + 24] = (20, 30, 230)
        frames.append(frame)
    return frames


def follow(places, recovery, policy=None):
    tracker = DyTracker(
        SquareEngine(), policy=policy or FixedThresholds((0.5, 0.5)), config=TrackerConfig(recovery=recovery)
    )
    frames = moving_square(places)
    tracker.initialize(frames[0], (*places[0], 24, 24))
    return tracker, [tracker.track(frame) for frame in frames[1:]]


def test_a_target_that_reappears_far_away_is_found_again():
    places = [(30, 30)] * 8 + [None] * 12 + [(260, 190)] * 60
    _, results = follow(places, RecoverySettings())
    found = [result.state for result in results]
    assert found[6] == TRACKING and found[10] == UNCERTAIN and found[18] == LOST
    last = results[-1]
    assert last.state == TRACKING
    assert iou(last.box, (260, 190, 24, 24)) > 0.8
    lost = [result for result in results if result.state == LOST]
    assert {result.box for result in lost} == {results[6].box}, "the place where it was last seen"
    assert {result.score for result in lost} == {0.0}
    _, results = follow(places, RecoverySettings(search=False))
    assert results[-1].state == LOST
    _, results = follow(places, None)
    assert iou(results[-1].box, (260, 190, 24, 24)) == 0


def test_without_recovery_a_score_that_is_sure_ends_lost():
    _, results = follow([(100, 100)] * 4 + [None] * 8 + [(100, 100)] * 3, None)
    assert results[9].state == LOST
    assert results[-1].state == TRACKING


def test_doubt_goes_deeper_unless_switched_off():
    places = [(100, 100)] * 4 + [None] * 4 + [(100, 100)] * 2
    low = FixedThresholds((0.05, 0.05))  # what is not there, too, is sure enough for these
    exits = [result.exit_index for result in follow(places, RecoverySettings(), low)[1]]
    assert exits == [1, 1, 1, 1, 3, 3, 3, 3, 1]
    exits = [result.exit_index for result in follow(places, RecoverySettings(deepen=False), low)[1]]
    assert set(exits) == {1}
    assert {result.exit_index for result in follow(places, None, low)[1]} == {1}


def test_a_new_target_starts_afresh():
    tracker, results = follow([(30, 30)] * 3 + [None] * 8, RecoverySettings())
    assert results[-1].state == LOST
    (frame,) = moving_square([(200, 100)])
    tracker.initialize(frame, (200, 100, 24, 24))
    assert tracker.track(frame).state == TRACKING
    tracker.reset()
    assert tracker.box is None
    with pytest.raises(RuntimeError, match="initialize"):
        tracker.track(frame)
