"""Boxes that take more or less for the object than was marked, and their correction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from still_engine import StillEngine

from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker, TrackerConfig
from dytrack_ros.tracking.box import iou
from dytrack_ros.tracking.init_correction import LARGEST_RATIO, InitCorrection

boxes = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(10, 200), st.floats(10, 200))
near = st.tuples(*[st.floats(-0.15, 0.15)] * 2, *[st.floats(0.75, 1.3)] * 2)


def changed(box, change):
    x, y, w, h = box
    dx, dy, rw, rh = change
    return x + dx * w, y + dy * h, rw * w, rh * h


@settings(max_examples=200, deadline=None)
@given(boxes, near)
def test_a_full_share_gives_the_mark_back_and_none_changes_nothing(found, change):
    marked = changed(found, change)
    extent = InitCorrection(marked, [found])
    np.testing.assert_allclose(extent.corrected(found, 1, 1.0), marked, atol=1e-6)
    np.testing.assert_allclose(extent.corrected(found, 1, 0.0), found, atol=1e-9)
    half = extent.corrected(found, 1, 0.5)
    assert iou(half, marked) >= iou(found, marked) - 1e-9
    larger = tuple(3 * value for value in found)
    (
        np.testing.assert_allclose(extent.corrected(larger, 1, 0.5), 3 * np.array(half), atol=1e-6),
        "it grows with the target",
    )


def test_each_exit_has_its_own():
    marked = (10.0, 10, 40, 80)
    extent = InitCorrection(marked, [(10.0, 10, 80, 80), marked])
    assert extent.corrected((10.0, 10, 80, 80), 1, 1.0) == pytest.approx((10, 10, 40, 80))
    assert extent.corrected((10.0, 10, 80, 80), 2, 1.0) == pytest.approx((10, 10, 80, 80))


@pytest.mark.parametrize(
    "found",
    [(-12.0, -12, 84, 160), (300.0, 300, 40, 80), (10.0, 10, 0, 0), (60.0, 100, -40, -80), (10.0, 10, 4, 80)],
)
def test_what_has_little_in_common_with_the_mark_corrects_nothing(found):
    extent = InitCorrection((10.0, 10, 40, 80), [found])
    assert extent.corrected((7.0, 8, 9, 10), 1, 1.0) == pytest.approx((7, 8, 9, 10))


def test_corrections_are_bounded():
    extent = InitCorrection((0.0, 0, 40, 100), [(0.0, 0, 100, 100)])
    assert extent.corrected((0.0, 0, 100, 100), 1, 1.0)[2] == pytest.approx(100 / LARGEST_RATIO)


class SquareMinded(StillEngine):
    """Takes the square around what was marked for the object."""

    looks = 0

    def begin(self, search):
        self.looks += 1


@pytest.mark.parametrize(("share", "width"), [(0.0, 40.0), (1.0, 20.0)])
def test_the_tracker_follows_what_was_marked(share, width):
    image = np.zeros((240, 320, 3), np.uint8)
    tracker = DyTracker(SquareMinded(), policy=FixedExit(2))
    tracker.set_config(TrackerConfig(init_correction=share))
    tracker.initialize(image, (100, 100, 20, 80))  # the square of its area has sides of 40
    assert tracker.engine.looks == (1 if share else 0)
    result = tracker.track(image)
    x, y, w, h = result.box
    assert (x + w / 2, y + h / 2) == pytest.approx((110, 140))
    assert (w, h) == pytest.approx((width, 1600 / width), rel=0.03), "the search region's side is whole pixels"


def test_a_share_that_is_raised_later_counts_from_the_next_target_on():
    image = np.zeros((240, 320, 3), np.uint8)
    tracker = DyTracker(SquareMinded(), policy=FixedExit(2))
    tracker.set_config(TrackerConfig(init_correction=0.0))
    tracker.initialize(image, (100, 100, 20, 80))
    tracker.set_config(TrackerConfig(init_correction=1.0))
    assert tracker.track(image).box[2] == pytest.approx(40, rel=0.03)
    tracker.initialize(image, (100, 100, 20, 80))
    assert tracker.track(image).box[2] == pytest.approx(20, rel=0.03)
    tracker.set_config(TrackerConfig(init_correction=0.0))
    assert tracker.track(image).box[2] == pytest.approx(40, rel=0.05)


class WholeMinded(StillEngine):
    """Knows exactly what was marked, as far as it can be seen: the left half of the search region is beyond the border."""

    def locate(self):
        return np.array([0.5, 0.375, 0.625, 0.625])


def test_a_mark_across_the_border_is_compared_as_far_as_it_can_be_seen():
    image = np.zeros((240, 320, 3), np.uint8)
    tracker = DyTracker(WholeMinded(), policy=FixedExit(2))
    tracker.set_config(TrackerConfig(init_correction=1.0))
    tracker.initialize(image, (-20, 100, 40, 40))
    found = (50.0, 60.0, 40.0, 40.0)
    assert tracker._extent.corrected(found, 2, 1.0) == pytest.approx(found, abs=0.5), "nothing differed"


def test_an_engine_that_fails_while_it_looks_leaves_no_target():
    class Blind(StillEngine):
        def locate(self):
            raise OSError("out of memory")

    image = np.zeros((240, 320, 3), np.uint8)
    tracker = DyTracker(StillEngine(), policy=FixedExit(1))
    tracker.initialize(image, (100, 100, 20, 20))
    tracker.engine = Blind()
    with pytest.raises(OSError, match="out of memory"):
        tracker.initialize(image, (50, 50, 20, 20))
    with pytest.raises(RuntimeError, match="no target yet"):
        tracker.track(image)
    with pytest.raises(RuntimeError, match="no target yet"):
        tracker.predict_all_exits(image)


def test_templates_are_background_masked_where_the_weights_ask_for_it():
    class Veiled(StillEngine):
        background_mask = 0.4

        def set_template(self, template):
            self.template = template

    image = np.full((240, 320, 3), 100, np.uint8)
    tracker = DyTracker(Veiled(), policy=FixedExit(1))
    tracker.initialize(image, (100, 100, 20, 80))  # the template's side is 80 px: the target is its middle quarter
    template = tracker.engine.template
    assert (template[:, 48:80] == 100).all()
    assert (template[:, :48] == (162, 60, 162)).all() and (template[:, 80:] == (162, 60, 162)).all()
