"""The measures against others' code: GOT-10k's toolkit for overlaps and centre errors, plain loops for the rest."""

import math

import numpy as np
import pytest

from dytrack_ros.evaluation import metrics

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def toolkit():
    reason = "GOT-10k's toolkit is not installed: pip install shapely; pip install --no-deps got10k"
    return pytest.importorskip("got10k.utils.metrics", reason=reason)


def random_boxes(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Predictions near and far from truths, some equal to them, some apart."""
    random = np.random.default_rng(seed)
    truth = np.concatenate([random.uniform(-20, 300, (count, 2)), random.uniform(2, 120, (count, 2))], axis=1)
    near = random.normal(0, 0.3, (count, 4)) * truth[:, [2, 3, 2, 3]]
    predicted = truth + near * random.integers(0, 2, (count, 1))
    predicted[:, 2:] = np.maximum(predicted[:, 2:], 1)
    predicted[: count // 10, :2] += 500
    return predicted, truth


@pytest.fixture(params=range(5))
def boxes(request):
    return random_boxes(request.param)


def plain_measures(toolkit, predicted, truth) -> dict[str, float]:
    """Every measure from its definition, a frame at a time; overlaps and centre errors by GOT-10k's toolkit."""
    present = [not any(math.isnan(value) for value in box) for box in truth]
    ious = [float(toolkit.rect_iou(p[None], t[None])[0]) for p, t in zip(predicted, truth, strict=True)]
    errors = [float(toolkit.center_error(p, t)) for p, t in zip(predicted, truth, strict=True)]
    # The toolkit knows no error in units of the truth's size: both boxes are brought to these units before.
    units = [np.tile(box[2:], 2) for box in truth]
    normalised = [
        float(toolkit.center_error(p / unit, t / unit)) for p, t, unit in zip(predicted, truth, units, strict=True)
    ]
    frames = [number for number in range(len(truth)) if present[number]]
    later = [number for number in frames if number > 0]
    curve = [sum(ious[i] > step / 20 for i in frames) / len(frames) for step in range(21)]
    return {
        "success_auc": sum(curve) / 21,
        "mean_iou": sum(ious[i] for i in frames) / len(frames),
        "precision": sum(errors[i] <= 20 for i in frames) / len(frames),
        "normalised_precision": sum(normalised[i] <= 0.2 for i in frames) / len(frames),
        "ao": sum(ious[i] for i in later) / len(later),
        "sr50": sum(ious[i] > 0.5 for i in later) / len(later),
        "sr75": sum(ious[i] > 0.75 for i in later) / len(later),
        "present": len(frames) / len(truth),
    }


def test_overlaps_and_centre_errors_frame_by_frame(boxes, toolkit):
    predicted, truth = boxes
    assert metrics.overlaps(predicted, truth) == pytest.approx(toolkit.rect_iou(predicted, truth), abs=TOLERANCE)
    errors = metrics._centre_errors(predicted, truth, normalised=False)
    assert errors == pytest.approx(toolkit.center_error(predicted, truth), abs=TOLERANCE)


@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_all_measures(boxes, absent, toolkit):
    predicted, truth = boxes
    truth[np.random.default_rng(0).random(len(truth)) < absent] = np.nan
    assert np.isnan(truth).any() == (absent > 0)
    found = metrics.measures(predicted, truth)
    assert found == pytest.approx(plain_measures(toolkit, predicted, truth), abs=TOLERANCE)
    assert 0.1 < found["sr75"] < found["sr50"] < 0.9, "boxes that are neither all good nor all bad"


def test_a_perfect_box_is_above_no_threshold_of_1():
    """The sum x + w, rounded, may make an overlap of equal boxes larger than 1."""
    boxes, _ = random_boxes(0)
    assert metrics.success_auc(metrics.overlaps(boxes, boxes)) == pytest.approx(20 / 21)


def test_nothing_to_measure():
    nowhere = np.full((3, 4), np.nan)
    found = metrics.measures(np.ones((3, 4)), nowhere)
    assert found.pop("present") == 0 and all(math.isnan(value) for value in found.values())
    start_only = metrics.measures(np.ones((1, 4)), np.ones((1, 4)))
    assert start_only["success_auc"] == pytest.approx(20 / 21) and math.isnan(start_only["ao"])
