"""The nested family of thresholds, the search for it, and the calibration file."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytrack_ros.cli.calibrate import exit_records, held_out_iou
from dytrack_ros.evaluation.threshold_search import (
    ExitSample,
    direct_path,
    exit_taken,
    family_of,
    geometric_path,
    mean_iou_at_costs,
    mix,
    quantile,
)
from dytrack_ros.policies.calibration import (
    Calibration,
    CalibrationError,
    calibration_file,
    calibration_of,
    file_sha256,
)
from dytrack_ros.policies.latency_model import ExitCosts, LatencyModel
from dytrack_ros.policies.thresholds import ThresholdFamily

COSTS = (1.0, 2.1, 3.2)


def frames(count=300, seed=0):
    """Frames of varying difficulty whose scores know something of their IoUs."""
    drawn = random.Random(seed)
    samples = []
    for _ in range(count):
        ease = drawn.gauss(0, 1)
        ious = [min(max(base + 0.15 * ease + drawn.gauss(0, 0.08), 0), 1) for base in (0.55, 0.65, 0.7)]
        scores = [min(max(0.45 + 0.3 * iou + drawn.gauss(0, 0.03), 0), 1) for iou in ious]
        samples.append(ExitSample(tuple(scores), tuple(ious)))
    return samples


# --- the family -------------------------------------------------------------------------------------------------------


def test_thresholds_are_interpolated_between_rows():
    family = ThresholdFamily((0, 0.5, 1), [[0.9, 0.8], [0.7, 0.6], [0.1, 0.2]])
    assert family.thresholds(0.25) == pytest.approx((0.8, 0.7))
    assert family.thresholds(0.75) == pytest.approx((0.4, 0.4))
    assert family.thresholds(0) == family.thresholds(-1) == (1, 1)
    assert family.thresholds(1) == family.thresholds(2) == (0, 0)
    assert family.exit_count == 3


@given(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.integers(0, 5))
def test_no_threshold_rises_with_thrift(a, b, seed):
    family, _ = family_of(direct_path(frames(60, seed), COSTS, levels=6), COSTS)
    low, high = family.thresholds(min(a, b)), family.thresholds(max(a, b))
    assert all(later <= earlier for earlier, later in zip(low, high, strict=True))


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


# --- the search -------------------------------------------------------------------------------------------------------


def test_a_mix_by_hand():
    samples = [
        ExitSample((0.9, 0.9, 0.9), (0.8, 0.8, 0.8)),
        ExitSample((0.5, 0.9, 0.9), (0.2, 0.6, 0.7)),
        ExitSample((0.5, 0.5, 0.9), (0.1, 0.2, 0.3)),
        ExitSample((0.6, 0.1, 0.0), (0.4, 0.5, 0.6)),
    ]
    assert [exit_taken(sample.scores, (0.6, 0.8)) for sample in samples] == [0, 1, 2, 2]
    result = mix(samples, (0.6, 0.8), COSTS)
    assert result.shares == (0.25, 0.25, 0.5)
    assert result.cost == pytest.approx((1 + 2.1 + 3.2 + 3.2) / 4)
    assert result.iou == pytest.approx((0.8 + 0.6 + 0.3 + 0.6) / 4)


@pytest.mark.parametrize("search", [geometric_path, direct_path])
def test_paths_lead_from_full_depth_to_the_first_exit(search):
    path = search(frames(), COSTS)
    assert path[0].shares == (0, 0, 1) and path[-1].shares == (1, 0, 0)
    assert all(b.cost <= a.cost + 1e-12 for a, b in zip(path, path[1:], strict=False))
    assert all(
        t <= s for a, b in zip(path, path[1:], strict=False) for s, t in zip(a.thresholds, b.thresholds, strict=True)
    )


def area(path):
    return sum((a.iou + b.iou) / 2 * (a.cost - b.cost) for a, b in zip(path, path[1:], strict=False))


def test_the_direct_search_is_optimal_on_its_grid():
    """Against every monotone path through the same small grid."""
    samples, levels = frames(40), 3
    grids = [
        [quantile(sorted(s.scores[k] for s in samples), 1 - i / levels) for i in range(levels)]
        + [min(s.scores[k] for s in samples) - 1e-6]
        for k in (0, 1)
    ]

    def paths(i, j):
        if (i, j) == (levels, levels):
            yield [(i, j)]
        for a, b in ((i + 1, j), (i, j + 1)):
            if a <= levels and b <= levels:
                yield from ([(i, j), *rest] for rest in paths(a, b))

    best = max(area([mix(samples, (grids[0][i], grids[1][j]), COSTS) for i, j in path]) for path in paths(0, 0))
    assert area(direct_path(samples, COSTS, levels)) == pytest.approx(best, abs=1e-12)


def test_learned_scores_beat_drawing_lots():
    samples = frames()
    ends = [mix(samples, thresholds, COSTS).iou for thresholds in ((-1, -1), (1, -1), (1, 1))]
    # Drawing lots between neighbouring exits: straight lines between the fixed exits.
    lots = ((ends[0] + ends[1]) / 2 * 1.1 + (ends[1] + ends[2]) / 2 * 1.1) / 2.2
    assert mean_iou_at_costs(direct_path(samples, COSTS), samples, COSTS) > lots + 0.005
    assert mean_iou_at_costs(geometric_path(samples, COSTS), samples, COSTS) > lots + 0.005


def test_thrift_is_the_share_of_the_cost_that_is_saved():
    samples = frames()
    family, rows = family_of(direct_path(samples, COSTS), COSTS)
    for thrift in (0.2, 0.5, 0.8):
        cost = mix(samples, family.thresholds(thrift), COSTS).cost
        assert (COSTS[-1] - cost) / (COSTS[-1] - COSTS[0]) == pytest.approx(thrift, abs=0.06)
    assert len(rows) == len(family.rows)


def test_scores_that_never_vary_still_give_a_family():
    samples = [ExitSample((0.5, 0.5, 0.5), (0.3, 0.4, 0.5))] * 20
    for search in (geometric_path, direct_path):
        family, _ = family_of(search(samples, COSTS), COSTS)
        assert family.thresholds(0.5)[0] <= 0.5


def test_records_say_what_each_exit_is_worth():
    samples = frames()
    row = mix(samples, (0.65, 0.66), COSTS)
    first, second, third = exit_records(samples, row)
    assert first["reached"] == 1 and second["reached"] == pytest.approx(1 - row.shares[0], abs=1e-4)
    assert third["reached"] == pytest.approx(row.shares[2], abs=1e-4)
    assert second["score_quantiles"] == sorted(second["score_quantiles"]) and len(second["mean_iou_by_tenth"]) == 10
    assert second["mean_iou"] < second["mean_iou_of_all_frames"], "the hard frames are those that reach it"


def test_held_out_iou_does_not_look_at_the_frames_it_is_measured_on():
    groups = [frames(100, seed) for seed in range(4)]
    seen = []

    def method(samples, costs):
        seen.append(len(samples))
        return direct_path(samples, costs, levels=6)

    assert 0.5 < held_out_iou(groups, COSTS, method) < 0.8
    assert seen == [200, 200]


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "some.safetensors"
    path.write_bytes(b"weights")
    return path


def test_a_calibration_is_written_and_read(weights):
    family, _ = family_of(direct_path(frames(), COSTS), COSTS)
    Calibration(file_sha256(weights), family, [{"exit": 1}], {"frames": 300}).save(calibration_file(weights))
    read, note = calibration_of(weights)
    assert note == "some.calibration.json" and read.notes["frames"] == 300 and read.exits == [{"exit": 1}]
    assert read.family.thresholds(0.4) == pytest.approx(family.thresholds(0.4), abs=2e-4)


def test_a_calibration_of_other_weights_is_refused(weights):
    Calibration("ab" * 32, ThresholdFamily.default()).save(calibration_file(weights))
    with pytest.raises(CalibrationError, match="was made for weights abababababab.*run `calibrate`"):
        Calibration.load(calibration_file(weights), weights)
    calibration, note = calibration_of(weights)
    assert calibration is None and "default thresholds" in note and "abababababab" in note


def test_no_calibration_is_said(weights):
    calibration, note = calibration_of(weights)
    assert calibration is None and "some.calibration.json" in note and "`calibrate`" in note


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


class Frame:
    def __init__(self, exit_index, slow=1.0):
        self.exit_index = exit_index
        self.stage_seconds = tuple(seconds * slow for seconds in EXIT_COSTS.stages[:exit_index])
        self.seconds = EXIT_COSTS.answer(exit_index) * slow


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
        model.observe(Frame(1, slow=2.0))
    assert model.slowdown == pytest.approx(2, rel=0.01)
    assert model.answer(3) == pytest.approx(0.38, rel=0.01)
    assert model.deviation < 0.05


def test_outliers_and_the_first_frames_of_a_target_count_little_or_nothing():
    model = LatencyModel(EXIT_COSTS, memory=8, settling=2)
    for slow in (50, 50, 1, 1):
        model.observe(Frame(1, slow))
    assert model.slowdown == 1
    model.observe(Frame(1, slow=500))
    assert model.slowdown == pytest.approx(1 + (LatencyModel.OUTLIER - 1) / 8)
    model.restart()
    before = model.slowdown
    model.observe(Frame(1, slow=2))
    assert model.slowdown == before


def test_going_on_takes_the_slower_of_model_and_frame():
    model = LatencyModel(EXIT_COSTS)
    assert model.going_on(1, 0.05, 0.0) == pytest.approx(0.07)
    assert model.going_on(1, 0.05, 2.0) == pytest.approx(0.07 * (1 + 2 * model.FIRST_DEVIATION))
    assert model.going_on(1, 0.10, 2.0) == pytest.approx(0.14)
    assert model.going_on(2, 0.05, 0.0) == pytest.approx(0.08), "a frame faster than the model is not trusted"
    assert LatencyModel().going_on(1, 0.05, 3.0) == pytest.approx(0.05)
