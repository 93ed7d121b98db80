"""Boxes, crops, box corrections and the tracker."""

import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from still_engine import StillEngine

from dytrack_ros.engines import Engine
from dytrack_ros.model import DyTrackConfig
from dytrack_ros.model.weights import load_weights
from dytrack_ros.policies import FixedExit, FixedThresholds
from dytrack_ros.tracking import DyTracker, RecoverySettings, StateThresholds, TrackerConfig, TrackState
from dytrack_ros.tracking.box import check_init_box, clip_box, iou
from dytrack_ros.tracking.box_correction import LARGEST_RATIO, InitCorrection, Resolution, with_damped_size
from dytrack_ros.tracking.crop import CropWindow
from dytrack_ros.tracking.motion_prior import motion_prior
from dytrack_ros.training.crops import ImageBank, crop_window, sample_crops


@pytest.fixture(scope="module")
def tracker(tiny_weights):
    return DyTracker.from_pretrained(tiny_weights, engine="torch", device="cpu")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


# --- crops -----------------------------------------------------------------------------------------------------------

sides = st.floats(4, 300)
places = st.floats(-150, 500)


@settings(max_examples=300, deadline=None)
@given(places, places, sides, sides, st.sampled_from([2.0, 4.0]))
def test_box_to_crop_and_back_is_exact_anywhere(x, y, w, h, factor):
    window = CropWindow.around((x, y, w, h), factor)
    assert window.side == max(math.ceil(math.sqrt(w * h) * factor), 1)
    np.testing.assert_allclose(window.to_image(window.to_crop((x, y, w, h))), (x, y, w, h), atol=1e-6)


@pytest.mark.parametrize(
    "box", [(100, 80, 40, 24), (-12, 70, 40, 40), (290, 215, 50, 40), (2, 3, 30, 60), (150, 100, 9, 13)]
)
def test_a_painted_box_is_found_in_the_crop_where_the_geometry_says(box):
    """Inside, across and at the border: paint the box, cut the crop, measure the painted area's corners there."""
    x, y, w, h = box
    image = np.zeros((240, 320, 3), np.uint8)
    image[max(y, 0) : y + h, max(x, 0) : x + w] = (0, 0, 255)
    visible = (max(x, 0), max(y, 0), min(x + w, 320) - max(x, 0), min(y + h, 240) - max(y, 0))
    window = CropWindow.around(box, 4.0)
    crop = window.cut(image, 256)
    red = crop[..., 0].astype(float) / 255
    assert crop[..., 1:].max() == 0, "BGR in, RGB out"
    columns, rows = red.max(0), red.max(1)
    found = (edge(columns), edge(rows), 256 - edge(columns[::-1]), 256 - edge(rows[::-1]))
    back = window.to_image(np.array(found) / 256)
    np.testing.assert_allclose(back, visible, atol=0.5)


def edge(profile):
    """Position of the half-height of the first rise, in units of pixels whose centres are at i + 0.5."""
    i = int(np.argmax(profile >= 0.5))
    if i == 0:
        return 0.0
    return i - 0.5 + (0.5 - profile[i - 1]) / (profile[i] - profile[i - 1]) + 0.0 if profile[i] > profile[i - 1] else i


@pytest.mark.parametrize("box", [(100.3, 80.6, 40, 24), (-12.2, 70, 40, 40), (290, 215, 50, 40), (60, 50, 11, 90)])
def test_training_and_tracking_cut_the_same_crop(box):
    """The half-pixel convention is one and the same: both crops of a smooth picture agree to rounding."""
    ys, xs = np.mgrid[:240, :320]
    picture = np.stack([xs * 0.7, ys * 0.9, (xs + ys) * 0.4], -1).astype(np.uint8)
    window = CropWindow.around(box, 4.0)
    tracked = window.cut(np.ascontiguousarray(picture[..., ::-1]), 256).astype(float)

    bank = ImageBank(
        torch.from_numpy(picture.reshape(-1, 3)), torch.tensor([0]), torch.tensor([320]), torch.tensor([240])
    )
    still = torch.zeros(1)
    training_window = crop_window(torch.tensor([box]), 4.0, torch.zeros(1, 2), still, still)
    np.testing.assert_allclose(training_window[0], [window.left, window.top, window.side, window.side], atol=1e-3)
    trained, inside = sample_crops(bank, torch.tensor([0]), training_window, 256)
    difference = np.abs(trained[0].permute(1, 2, 0).numpy() - tracked)
    interior = cv2.erode(inside[0, 0].numpy().astype(np.uint8), np.ones((9, 9))).astype(bool)
    # Rounding gives 0.5 at most; half a pixel's shift, of the crop or of the image, gives 0.73 at least.
    assert difference[interior].max() < 0.6


# --- boxes -----------------------------------------------------------------------------------------------------------


def test_iou_of_known_boxes():
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 0, 10, 10)) == 0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


@settings(deadline=None)
@given(places, places, st.floats(-5, 300), sides)
def test_clipped_boxes_lie_in_the_image_and_keep_the_margin(x, y, w, h):
    cx, cy, cw, ch = clip_box((x, y, w, h), 320, 240)
    assert cx >= 0 and cy >= 0 and cx + cw <= 320 + 1e-6 and cy + ch <= 240 + 1e-6
    assert cw >= min(max(w, 2), 10) - 1e-6 and ch >= min(h, 10) - 1e-6


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((50, 60, 3, 4), (50, 60, 3, 4)),
        ((50, 60, 1, 0.5), (49.5, 59.25, 2, 2)),
        ((310, 236, 40, 8), (310, 232, 10, 8)),
        ((330, -50, 4, 4), (316, 0, 4, 4)),
        ((-90, 100, 40, 40), (0, 100, 10, 40)),
    ],
    ids=["small", "grows about its centre", "across the border", "small beyond the border", "beyond the border"],
)
def test_clip_box_by_hand(box, clipped):
    assert clip_box(box, 320, 240) == pytest.approx(clipped)
    assert clip_box((0, 0, 9, 9), 1, 1) == (0, 0, 1, 1), "an image smaller than the least side"


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((1, 2, float("nan"), 4), "finite"),
        ((1, 2, float("inf"), 4), "finite"),
        ((10, 10, 0, 5), "at least 2 px"),
        ((10, 10, -5, 5), "at least 2 px"),
        ((330, 10, 20, 20), "outside the image of 320x240"),
        ((-50, 10, 20, 20), "outside the image of 320x240"),
        ((0, 0, 5000, 5000), "four times"),
    ],
)
def test_bad_init_boxes_are_refused_with_the_reason(tracker, image, box, said):
    tracker.initialize(image, (50, 50, 40, 40))
    with pytest.raises(ValueError, match=said):
        tracker.initialize(image, box)
    assert tracker.box == (50, 50, 40, 40), "the previous target is kept"
    assert tracker.track(image).box


def test_a_box_partly_outside_is_accepted():
    assert check_init_box((-10, -10, 40, 40), 320, 240) == (-10, -10, 40, 40)


# --- the tracker -----------------------------------------------------------------------------------------------------


def test_results_are_those_of_the_network(tracker, tiny_weights, image):
    box = (100.0, 90.0, 50.0, 30.0)
    tracker.set_policy(FixedExit(3))
    tracker.set_config(TrackerConfig(motion_prior=0, size_damping=0))
    tracker.initialize(image, box)
    result = tracker.track(image)
    tracker.set_config(TrackerConfig())

    from dytrack_ros.model.dytrack import normalize

    def crop(factor, size):
        pixels = CropWindow.around(box, factor).cut(image, size)
        return normalize(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())

    with torch.inference_mode():
        outputs = load_weights(tiny_weights)(crop(2.0, 128), crop(4.0, 256))
    assert result.exit_scores == pytest.approx([float(o.score) for o in outputs], abs=1e-4)
    expected = clip_box(CropWindow.around(box, 4.0).to_image(outputs[2].box[0].numpy()), 320, 240)
    assert result.box == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("exit_index", [1, 2, 3])
def test_fixed_exit_is_taken(tracker, image, exit_index):
    tracker.set_policy(FixedExit(exit_index))
    tracker.initialize(image, (100, 90, 50, 30))
    result = tracker.track(image)
    assert result.exit_index == exit_index == len(result.exit_scores) == len(result.stage_seconds)
    assert result.score == result.exit_scores[-1]
    assert 0 < sum(result.stage_seconds) < result.seconds
    x, y, w, h = result.box
    assert 0 <= x and 0 <= y and x + w <= 320 and y + h <= 240


def test_the_first_score_above_its_threshold_decides(tracker, image):
    tracker.set_policy(FixedExit(3))
    tracker.initialize(image, (100, 90, 50, 30))
    s1, s2, _ = tracker.track(image).exit_scores
    for thresholds, expected in [((s1 - 1e-3, 1), 1), ((s1 + 1e-3, s2 - 1e-3), 2), ((s1 + 1e-3, s2 + 1e-3), 3)]:
        tracker.set_policy(FixedThresholds(thresholds))
        tracker.initialize(image, (100, 90, 50, 30))
        assert tracker.track(image).exit_index == expected


def test_wrong_images_are_refused(tracker, image):
    for bad in (image[..., 0], image.astype(float), image[:0], "image", np.zeros((10, 10, 4), np.uint8)):
        with pytest.raises(ValueError, match="image must"):
            tracker.initialize(bad, (10, 10, 20, 20))


def test_track_before_initialize_is_an_error(image):
    with pytest.raises(RuntimeError, match="initialize"):
        DyTracker(StillEngine()).track(image)


def test_unknown_models_and_engines_say_what_there_is(tiny_weights):
    with pytest.raises(FileNotFoundError, match="shipped are"):
        DyTracker.from_pretrained("dytrack_huge")
    with pytest.raises(ValueError, match="torch"):
        DyTracker.from_pretrained(tiny_weights, engine="abacus")
    with pytest.raises(ValueError, match="auto, cpu or cuda"):
        DyTracker.from_pretrained(tiny_weights, device="abacus")
    with pytest.raises(ValueError, match="not a safetensors file"):
        DyTracker.from_pretrained(__file__)


@pytest.mark.parametrize("side", [3, 4, 6, 8, 10, 12])
def test_small_targets_are_reported_at_their_size(side):
    image, box = np.zeros((240, 320, 3), np.uint8), (100.5, 80.5, side, side)
    tracker = DyTracker(StillEngine(), policy=FixedExit(1))
    tracker.initialize(image, box)
    results = [tracker.track(image) for _ in range(20)]
    assert iou(results[-1].box, box) > 0.99
    border = (320 - side, 240 - side, side, side)
    tracker.initialize(image, border)
    assert iou(tracker.track(image).box, border) > 0.99


def test_a_target_that_shrinks_to_nothing_keeps_two_pixels():
    image, engine = np.zeros((240, 320, 3), np.uint8), StillEngine()
    tracker = DyTracker(engine, policy=FixedExit(1), config=TrackerConfig(init_correction=0, size_damping=0))
    tracker.initialize(image, (100, 80, 6, 6))
    engine.locate_at = (0.5, 0.5, 0.5, 0.5)
    assert [tracker.track(image).box for _ in range(3)][-1] == pytest.approx((102, 82, 2, 2))


def test_a_config_counts_from_the_next_frame_on_and_is_checked():
    image, tracker = np.zeros((240, 320, 3), np.uint8), DyTracker(StillEngine())
    tracker.initialize(image, (100, 80, 40, 40))
    assert tracker.config == TrackerConfig() and tracker.config.recovery is None
    tracker.set_config(TrackerConfig(StateThresholds(uncertain=1.0)))
    assert tracker.track(image).state == TrackState.UNCERTAIN
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="init_correction is .* must lie"):
            TrackerConfig(init_correction=wrong)
    for wrong in (-0.1, math.nan):
        with pytest.raises(ValueError, match="motion_prior is .* must be 0 or more"):
            TrackerConfig(motion_prior=wrong)
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="size_damping is .* must lie in"):
            TrackerConfig(size_damping=wrong)
    for wrong in (0.9, math.nan):
        with pytest.raises(ValueError, match="entering_growth is .* must be 1 or more"):
            TrackerConfig(entering_growth=wrong)


def test_the_package_offers_its_names():
    import dytrack_ros

    for name in dytrack_ros.__all__:
        assert getattr(dytrack_ros, name) is not None and name in dir(dytrack_ros)
    assert dytrack_ros.DyTracker is DyTracker
    with pytest.raises(AttributeError, match="has no attribute 'Tracker'"):
        dytrack_ros.Tracker  # noqa: B018


IMPORTS = """
import sys, dytrack_ros, dytrack_ros.policies
assert not {"numpy", "cv2", "torch", "rclpy"} & set(sys.modules)
import dytrack_ros.tracking
assert not {"torch", "rclpy"} & set(sys.modules)
"""


def test_policies_need_no_numpy_and_tracking_needs_no_torch():
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)


# --- motion prior ----------------------------------------------------------------------------------------------------


def test_the_prior_is_a_gaussian_round_each_corner():
    prior = motion_prior(16, np.array([0.375, 0.4, 0.625, 0.6]), target_side=0.25, weight=2.0)
    assert prior.shape == (2, 16, 16)
    x, y = (5 + 0.5) / 16, (9 + 0.5) / 16
    for corner, (x0, y0) in enumerate([(0.375, 0.4), (0.625, 0.6)]):
        assert prior[corner, 9, 5] == pytest.approx(-2.0 * ((x - x0) ** 2 + (y - y0) ** 2) / 0.25**2)


class TwoTargetsEngine(Engine):
    """Sees the target where it was and, twice as likely, a look-alike three quarters of a target side to the right."""

    name, device = "two targets", "cpu"

    def __init__(self):
        super().__init__(DyTrackConfig())

    def _take_template(self, template):
        pass

    def _take_search(self, search):
        pass

    def _run_stage(self, position):
        return 0.9

    def _run_head(self, position):
        heat = np.full((2, self.search_grid, self.search_grid), 1e-9, np.float32)
        for corner, cell in enumerate((5, 9)):
            heat[corner, cell, cell], heat[corner, cell, cell + 3] = 1 / 3, 2 / 3
        return np.log(heat)


def test_the_prior_prefers_the_nearer_of_two_targets():
    image, box = np.zeros((240, 320, 3), np.uint8), (100.0, 100.0, 40.0, 40.0)
    offsets = []
    for weight in (0.0, 1.0, 20.0):
        tracker = DyTracker(
            TwoTargetsEngine(), policy=FixedExit(1), config=TrackerConfig(init_correction=0, motion_prior=weight)
        )
        tracker.initialize(image, box)
        offsets.append((tracker.predict_all_exits(image)[1][0][0] - box[0]) / box[2])
        assert (tracker.track(image).box[0] - box[0]) / box[2] == pytest.approx(offsets[-1])
    none, some, much = offsets
    assert none == pytest.approx(0.5, abs=0.15) and much == pytest.approx(0, abs=0.15) and much < some < none


# --- size of boxes with a low score ----------------------------------------------------------------------------------


def test_a_size_changes_by_its_score():
    box, last = (90.0, 80.0, 40.0, 90.0), (95.0, 85.0, 10.0, 10.0)
    for score, damping, sides in ((0, 1, (10, 10)), (0.5, 1, (20, 30)), (1, 1, (40, 90)), (0, 0.5, (20, 30))):
        x, y, w, h = with_damped_size(box, last, score, damping)
        assert (w, h) == pytest.approx(sides)
        assert (x + w / 2, y + h / 2) == pytest.approx((110, 125)), "the centre stays"
    assert with_damped_size(box, last, 0.0, 0.0) == pytest.approx(box)


@pytest.mark.parametrize(("damping", "side"), [(1.0, 40.0), (0.0, 320.0)])
def test_the_boxes_of_an_occluded_target_do_not_grow(damping, side):
    image, engine = np.zeros((1000, 1000, 3), np.uint8), StillEngine()
    engine.score, engine.locate_at = 0.0, (0.25, 0.25, 0.75, 0.75)  # twice as large as the last one
    config = TrackerConfig(init_correction=0, motion_prior=0, size_damping=damping)
    tracker = DyTracker(engine, policy=FixedExit(1), config=config)
    tracker.initialize(image, (480, 480, 40, 40))
    boxes = [tracker.track(image).box for _ in range(3)]
    assert boxes[-1] == pytest.approx((500 - side / 2, 500 - side / 2, side, side))


# --- targets that enter the image ------------------------------------------------------------------------------------


class Entering:
    """A target that is followed from an init box; ``templates`` are those that the engine was given."""

    def __init__(self, box, growth=2.0, score=0.9):
        self.image, self.engine, self.templates = np.zeros((400, 400, 3), np.uint8), StillEngine(), []
        self.engine.set_template, self.engine.score = self.templates.append, score
        config = TrackerConfig(init_correction=0, motion_prior=0, size_damping=0, entering_growth=growth)
        self.tracker = DyTracker(self.engine, policy=FixedExit(1), config=config)
        self.tracker.initialize(self.image, box)

    def find(self, x, y, w, h):
        """The engine finds this box in the next image, which shows it white."""
        left, top, side, _ = CropWindow.around(self.tracker.box, self.engine.search_factor).box
        self.engine.locate_at = ((x - left) / side, (y - top) / side, (x + w - left) / side, (y + h - top) / side)
        self.image[:] = 0
        self.image[y : y + h, x : x + w] = 255
        assert self.tracker.track(self.image).box == pytest.approx((x, y, w, h))


def test_a_target_that_has_entered_gets_a_new_template_once():
    target = Entering((0, 100, 20, 40))
    target.find(0, 100, 50, 40)
    target.find(1, 100, 60, 40)
    assert len(target.templates) == 1, "it still reaches the border"
    target.find(4, 100, 38, 40)
    assert len(target.templates) == 1, "it has not grown to twice its size"
    target.find(4, 100, 40, 40)
    assert len(target.templates) == 2
    assert target.templates[1][64, 64].tolist() == [255] * 3 and target.templates[1][2, 2].tolist() == [0] * 3
    target.find(10, 100, 90, 90)
    assert len(target.templates) == 2, "only once"


@pytest.mark.parametrize(
    ("box", "growth", "score"),
    [((10, 100, 20, 40), 2.0, 0.9), ((0, 100, 20, 40), math.inf, 0.9), ((0, 100, 20, 40), 2.0, 0.3)],
    ids=["was whole at init", "switched off", "score of a lost target"],
)
def test_other_targets_keep_their_template(box, growth, score):
    target = Entering(box, growth, score)
    target.find(10, 100, 60, 60)
    assert len(target.templates) == 1


# --- init correction -------------------------------------------------------------------------------------------------

boxes = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(10, 200), st.floats(10, 200))
near = st.tuples(*[st.floats(-0.15, 0.15)] * 2, *[st.floats(0.75, 1.3)] * 2)


@settings(max_examples=200, deadline=None)
@given(boxes, near)
def test_a_full_share_restores_the_init_box_and_none_changes_nothing(found, change):
    (x, y, w, h), (dx, dy, rw, rh) = found, change
    init_box = (x + dx * w, y + dy * h, rw * w, rh * h)
    correction = InitCorrection(init_box, [found])
    np.testing.assert_allclose(correction.corrected(found, 1, 1.0), init_box, atol=1e-6)
    np.testing.assert_allclose(correction.corrected(found, 1, 0.0), found, atol=1e-9)
    half = correction.corrected(found, 1, 0.5)
    assert iou(half, init_box) >= iou(found, init_box) - 1e-9
    larger = tuple(3 * value for value in found)
    np.testing.assert_allclose(correction.corrected(larger, 1, 0.5), 3 * np.array(half), atol=1e-6)


def test_each_exit_has_its_own_bounded_difference():
    init_box, wide, twice = (10.0, 10, 40, 80), (10.0, 10, 80, 80), (10.0, 10, 100, 80)
    correction = InitCorrection(init_box, [wide, init_box, twice])
    assert correction.corrected(wide, 1, 1.0) == pytest.approx(init_box)
    assert correction.corrected(wide, 2, 1.0) == pytest.approx(wide)
    assert correction.corrected(twice, 3, 1.0)[2] == pytest.approx(100 / LARGEST_RATIO)


@pytest.mark.parametrize(
    "found", [(-12.0, -12, 84, 160), (300.0, 300, 40, 80), (10.0, 10, 0, 0), (60.0, 100, -40, -80), (10.0, 10, 4, 80)]
)
def test_a_box_with_little_in_common_corrects_nothing(found):
    correction = InitCorrection((10.0, 10, 40, 80), [found])
    assert correction.corrected((7.0, 8, 9, 10), 1, 1.0) == pytest.approx((7, 8, 9, 10))


class CountingEngine(StillEngine):
    """Takes the square around an init box for the object, and counts the search regions."""

    searches = 0

    def begin(self, search):
        self.searches += 1


def test_the_tracker_corrects_as_its_config_says():
    image, box = np.zeros((240, 320, 3), np.uint8), (100, 100, 20, 80)  # the square of its area has sides of 40
    tracker = DyTracker(CountingEngine(), policy=FixedExit(2), config=TrackerConfig(init_correction=0, size_damping=0))
    tracker.initialize(image, box)
    assert tracker.engine.searches == 0, "no correction, no look at the init frame"
    tracker.set_config(TrackerConfig(init_correction=1.0, size_damping=0))
    assert tracker.track(image).box[2] == pytest.approx(40, rel=0.03), "from the next target on"
    tracker.initialize(image, box)
    x, y, w, h = tracker.track(image).box
    assert (x + w / 2, y + h / 2) == pytest.approx((110, 140))
    assert (w, h) == pytest.approx((20, 80), rel=0.03), "the search region's side is whole pixels"
    tracker.set_config(TrackerConfig(init_correction=0, size_damping=0))
    assert tracker.track(image).box[2] == pytest.approx(40, rel=0.05)


def test_only_the_visible_parts_of_the_boxes_are_compared():
    """The left half of the search region lies beyond the border, and the engine finds exactly the visible part."""
    image, engine = np.zeros((240, 320, 3), np.uint8), StillEngine()
    engine.locate_at = (0.5, 0.375, 0.625, 0.625)
    tracker = DyTracker(engine, policy=FixedExit(2), config=TrackerConfig(init_correction=1.0, size_damping=0))
    tracker.initialize(image, (-20, 100, 40, 40))
    assert tracker.track(image).box == pytest.approx((0, 100, 20, 40), abs=0.5)


def test_an_engine_that_fails_on_the_init_frame_leaves_no_target():
    image, engine = np.zeros((240, 320, 3), np.uint8), StillEngine()
    tracker = DyTracker(engine, policy=FixedExit(1))
    tracker.initialize(image, (100, 100, 20, 20))
    engine.locate_at = None
    with pytest.raises(TypeError, match=".*"):
        tracker.initialize(image, (50, 50, 20, 20))
    for call in (tracker.track, tracker.predict_all_exits):
        with pytest.raises(RuntimeError, match="no target yet"):
            call(image)


def test_templates_are_masked_if_the_weights_ask_for_it():
    engine = StillEngine()
    engine.background_mask = 0.4
    tracker = DyTracker(engine)
    # The template's side is 80 px: the target is its middle quarter.
    tracker.initialize(np.full((240, 320, 3), 100, np.uint8), (100, 100, 20, 80))
    assert (engine.template[:, 48:80] == 100).all()
    assert (engine.template[:, :48] == (162, 60, 162)).all() and (engine.template[:, 80:] == (162, 60, 162)).all()


# --- a camera that changes its resolution ----------------------------------------------------------------------------

BOX = (400.0, 300.0, 40.0, 40.0)


def blank(width, height):
    return np.zeros((height, width, 3), np.uint8)


@pytest.fixture
def still_tracker():
    tracker = DyTracker(StillEngine(), config=TrackerConfig(recovery=RecoverySettings()))
    tracker.initialize(blank(640, 480), BOX)
    return tracker


def boxes_at(tracker, *sizes):
    return [tracker.track(blank(*size)).box for size in sizes]


def test_the_box_is_scaled_with_the_image(still_tracker):
    half = (200, 150, 20, 20)
    assert boxes_at(still_tracker, (640, 480), (320, 240), (320, 240), (640, 480)) == [BOX, half, half, BOX]
    still_tracker.initialize(blank(1280, 720), BOX)
    assert boxes_at(still_tracker, (1280, 720)) == [BOX]


@pytest.mark.parametrize("stray", [(1, 1), (3, 2000), (1920, 1080), (16, 12)])
def test_one_stray_image_of_any_size_does_not_move_the_box(still_tracker, stray):
    _, _, after, later = boxes_at(still_tracker, (640, 480), stray, (640, 480), (640, 480))
    assert after == later == BOX


def test_width_and_height_count_apart():
    resolution = Resolution(100, 200)
    assert resolution.change(100, 200, ((10, 20, 30, 40),)) is None
    assert resolution.change(50, 400, ((10, 20, 30, 40), (2, 2, 2, 2))) == ((5, 40, 15, 80), (1, 4, 1, 4))
    assert resolution.change(50, 400, ((5, 40, 15, 80),)) is None
    assert resolution.change(100, 200, ((5, 40, 15, 80),)) == ((10, 20, 30, 40),)


def test_a_lost_target_is_searched_at_its_place_in_the_new_size(still_tracker):
    still_tracker.engine.score = 0.0
    boxes_at(still_tracker, *[(640, 480)] * 6)
    assert still_tracker.track(blank(640, 480)).state == TrackState.LOST
    assert boxes_at(still_tracker, (320, 240), (320, 240)) == [(200, 150, 20, 20)] * 2
    scaled = (200 / 320, 150 / 240, 20 / 320, 20 / 240)
    assert boxes_at(still_tracker, (1, 1), (320, 240)) == [scaled, (200, 150, 20, 20)]
