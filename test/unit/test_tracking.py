"""Boxes, crops, the tracker and the torch engine."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dytrack_ros.engines import create_engine
from dytrack_ros.model.weights import load_weights
from dytrack_ros.policies import FixedExit, FixedThresholds, RandomExit
from dytrack_ros.tracking import DyTracker, StateThresholds
from dytrack_ros.tracking.box import check_init_box, clip_box, iou
from dytrack_ros.tracking.crop import CropWindow
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
@given(places, places, sides, sides)
def test_clipped_boxes_lie_in_the_image_and_keep_the_margin(x, y, w, h):
    cx, cy, cw, ch = clip_box((x, y, w, h), 320, 240)
    assert cx >= 0 and cy >= 0 and cx + cw <= 320 + 1e-6 and cy + ch <= 240 + 1e-6
    assert cw >= 10 - 1e-6 and ch >= 10 - 1e-6


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
    tracker.initialize(image, box)
    result = tracker.track(image)

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


def test_random_exits_follow_their_probabilities():
    policy = RandomExit((0.5, 0.3, 0.2), seed=1)
    taken = []
    for _ in range(4000):
        taken.append(next((k for k in (1, 2) if policy.should_exit(k, 0.0, 0.0)), 3))
    assert np.bincount(taken, minlength=4)[1:] / 4000 == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedThresholds((0.5, 1.5)),
        lambda: FixedThresholds((float("nan"), 0.5)),
        lambda: FixedExit(0),
        lambda: RandomExit((0.5, 0.2, 0.2)),
        lambda: RandomExit((float("nan"), 0.5, 0.5)),
        lambda: StateThresholds(uncertain=0.2, lost=0.5),
    ],
)
def test_policies_refuse_values_that_mean_nothing(make):
    with pytest.raises(ValueError, match="must"):
        make()


def test_wrong_images_are_refused(tracker, image):
    for bad in (image[..., 0], image.astype(float), image[:0], "image", np.zeros((10, 10, 4), np.uint8)):
        with pytest.raises(ValueError, match="image must"):
            tracker.initialize(bad, (10, 10, 20, 20))


def test_track_before_initialize_is_an_error(tiny_weights, image):
    with pytest.raises(RuntimeError, match="initialize"):
        DyTracker.from_pretrained(tiny_weights).track(image)


def test_unknown_models_and_engines_say_what_there_is(tiny_weights):
    with pytest.raises(FileNotFoundError, match="shipped are"):
        DyTracker.from_pretrained("dytrack_huge")
    with pytest.raises(ValueError, match="torch"):
        DyTracker.from_pretrained(tiny_weights, engine="abacus")
    with pytest.raises(ValueError, match="auto, cpu or cuda"):
        DyTracker.from_pretrained(tiny_weights, device="abacus")
    with pytest.raises(ValueError, match="no safetensors file"):
        DyTracker.from_pretrained(__file__)


# --- the engine ------------------------------------------------------------------------------------------------------


def test_engine_calls_out_of_order_are_errors(tiny_weights):
    engine = create_engine("torch", tiny_weights, device="cpu")
    template, search = np.zeros((128, 128, 3), np.uint8), np.zeros((256, 256, 3), np.uint8)
    with pytest.raises(RuntimeError, match="set_template"):
        engine.begin(search)
    engine.set_template(template)
    with pytest.raises(RuntimeError, match="begin"):
        engine.advance()
    engine.begin(search)
    with pytest.raises(RuntimeError, match="advance"):
        engine.locate()
    for _ in range(engine.exit_count):
        assert 0 <= engine.advance() <= 1
    with pytest.raises(RuntimeError, match="last exit"):
        engine.advance()
    assert engine.locate().shape == (4,)
    with pytest.raises(ValueError, match="256x256x3"):
        engine.begin(template)


def test_engine_forgets_the_frame_before(tiny_weights):
    engine = create_engine("torch", tiny_weights, device="cpu")
    rng = np.random.default_rng(0)
    engine.set_template(rng.integers(0, 256, (128, 128, 3), np.uint8))
    first, second = (rng.integers(0, 256, (256, 256, 3), np.uint8) for _ in range(2))

    def answers(search, depth):
        engine.begin(search)
        return [engine.advance() for _ in range(depth)], engine.locate().tolist()

    reference = answers(first, 3)
    answers(second, 2)
    assert answers(first, 3) == reference
