"""The nested family of thresholds, the calibration file and the latency model."""

import json

import pytest

from dytrack_ros.policies import ExitCosts, ExitTrace
from dytrack_ros.policies.calibration import Calibration, CalibrationError, calibration_file, calibration_of
from dytrack_ros.policies.latency_model import LatencyModel, measure_exit_costs
from dytrack_ros.policies.thresholds import ThresholdFamily
from dytrack_ros.utils import file_sha256

# --- the family -------------------------------------------------------------------------------------------------------


def test_thresholds_are_interpolated_between_rows():
    family = ThresholdFamily((0, 0.5, 1), [[0.9, 0.8], [0.7, 0.6], [0.1, 0.2]])
    assert family.thresholds(0.25) == pytest.approx((0.8, 0.7))
    assert family.thresholds(0.75) == pytest.approx((0.4, 0.4))
    assert family.thresholds(0) == family.thresholds(-1) == (1, 1)
    assert family.thresholds(1) == family.thresholds(2) == (0, 0)
    assert family.exit_count == 3


@pytest.mark.parametrize(
    ("thrifts", "rows", "complaint"),
    [
        ((0, 1), [[0.5]], "as many"),
        ((0, 0.9), [[0.5], [0.4]], "from 0 to 1"),
        ((0, 0.6, 0.6, 1), [[0.5]] * 4, "ascend"),
        ((0, 1), [[0.5], [0.6]], "rise"),
        ((0, 1), [[1.5], [0.6]], r"in \[0, 1\]"),
        ((0, 1), [[0.5, 0.5], [0.4]], "one threshold"),
        ((0, 1), [[float("nan")], [0.4]], r"in \[0, 1\]"),
    ],
)
def test_families_that_are_none_are_refused(thrifts, rows, complaint):
    with pytest.raises(ValueError, match=complaint):
        ThresholdFamily(thrifts, rows)


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "some.safetensors"
    path.write_bytes(b"weights")
    return path


def test_a_calibration_is_written_and_read(weights):
    family = ThresholdFamily((0, 0.5, 1), [[0.9, 0.8], [0.7, 0.6], [0.1, 0.2]])
    Calibration(file_sha256(weights), family, [{"exit": 1}], {"frames": 300}).save(calibration_file(weights))
    read, note = calibration_of(weights)
    assert note == "some.calibration.json" and read.notes["frames"] == 300 and read.exits == [{"exit": 1}]
    assert read.family.thresholds(0.4) == pytest.approx(family.thresholds(0.4), abs=2e-4)


def test_a_calibration_of_other_weights_is_refused(weights):
    Calibration("ab" * 32, ThresholdFamily.default()).save(calibration_file(weights))
    with pytest.raises(CalibrationError, match="was made for weights abababababab.*run dytrack calibrate"):
        Calibration.load(calibration_file(weights), weights)
    calibration, note = calibration_of(weights)
    assert calibration is None and "default thresholds" in note and "abababababab" in note


def test_no_calibration_is_said(weights):
    calibration, note = calibration_of(weights)
    assert calibration is None and "some.calibration.json" in note and "dytrack calibrate" in note


@pytest.mark.parametrize("damage", ["", "{}", '{"family": 3, "weights_sha256": "", "exits": []}', "[1]"])
def test_damaged_calibrations_are_refused(weights, damage):
    path = calibration_file(weights)
    path.write_text(damage)
    with pytest.raises(CalibrationError, match="no calibration file"):
        Calibration.load(path, weights)
    path.write_text(json.dumps({"family": {"thrift": [0, 1], "thresholds": [[0.1], [0.2]]}, "weights_sha256": ""}))
    assert calibration_of(weights)[0] is None


def test_a_calibration_that_names_no_weights_is_refused(weights):
    document = {"family": {"thrift": [0, 1], "thresholds": [[0.2], [0.1]]}, "weights_sha256": None, "exits": []}
    calibration_file(weights).write_text(json.dumps(document))
    calibration, note = calibration_of(weights)
    assert calibration is None and "was made for weights None" in note


# --- the latency model ------------------------------------------------------------------------------------------------


EXIT_COSTS = ExitCosts((0.05, 0.06, 0.07), 0.01)


def frame(exit_index, slow=1.0):
    stages = tuple(seconds * slow for seconds in EXIT_COSTS.stages[:exit_index])
    return ExitTrace(exit_index, (0.5,) * exit_index, stages, EXIT_COSTS.answer(exit_index) * slow)


def test_costs_by_hand():
    costs = EXIT_COSTS
    assert costs.answer(1) == pytest.approx(0.06) and costs.answer(3) == pytest.approx(0.19)
    assert costs.reach(2) == pytest.approx(0.11) and costs.reach(0) == 0
    for stages, head in (((), 0.01), ((0.1, 0), 0.01), ((0.1,), float("nan")), ((0.1,), -1)):
        with pytest.raises(ValueError, match="positive"):
            ExitCosts(stages, head)


def test_load_seen_at_one_exit_is_known_at_the_others():
    model = LatencyModel(EXIT_COSTS)
    for _ in range(60):
        model.observe(frame(1, slow=2.0))
    assert model.slowdown == pytest.approx(2, rel=0.01)
    assert model.answer(3) == pytest.approx(0.38, rel=0.01)
    assert model.deviation < 0.05


def test_outliers_and_the_first_frames_of_a_target_count_little_or_nothing():
    model = LatencyModel(EXIT_COSTS, memory=8, settling=2)
    for slow in (50, 50, 1, 1):
        model.observe(frame(1, slow))
    assert model.slowdown == 1
    model.observe(frame(1, slow=500))
    assert model.slowdown == pytest.approx(1 + (LatencyModel.OUTLIER - 1) / 8)
    model.restart()
    before = model.slowdown
    model.observe(frame(1, slow=2))
    assert model.slowdown == before


def test_going_on_takes_the_slower_of_model_and_frame():
    model = LatencyModel(EXIT_COSTS)
    assert model.going_on(1, 0.05, 0.0) == pytest.approx(0.07)
    assert model.going_on(1, 0.05, 2.0) == pytest.approx(0.07 * (1 + 2 * model.FIRST_DEVIATION))
    assert model.going_on(1, 0.10, 2.0) == pytest.approx(0.14)
    assert model.going_on(2, 0.05, 0.0) == pytest.approx(0.08), "a frame faster than the model is not trusted"
    assert LatencyModel().going_on(1, 0.05, 3.0) == pytest.approx(0.05)


def test_costs_are_measured_stage_by_stage():
    calls = []
    steps = [lambda name=name: calls.append(name) for name in ("begin", "advance", "locate")]
    costs = measure_exit_costs(*steps, exit_count=3, seconds=0.0)
    assert costs.exit_count == 3 and calls == ["begin", *["advance"] * 3, "locate"] * 3
