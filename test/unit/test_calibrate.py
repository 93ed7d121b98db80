"""The search for thresholds, and the command `dytrack calibrate` from sequences to a budget's thresholds."""

import itertools
import json
import random
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_network import random_model
from square_sequences import write_sequences

from dytrack_ros.cli import calibrate, evaluate
from dytrack_ros.cli.calibrate import exit_records, held_out_iou, main
from dytrack_ros.data.sequences import load_sequence
from dytrack_ros.evaluation.analysis import sample_exits
from dytrack_ros.evaluation.threshold_search import (
    ExitSample,
    Mix,
    direct_path,
    exit_taken,
    family_of,
    knee,
    mean_iou_at_costs,
    mix,
    quantile,
)
from dytrack_ros.model import save_weights
from dytrack_ros.policies import FixedExit, FrameBudget
from dytrack_ros.policies.calibration import NO_FILE, calibration_file
from dytrack_ros.tracking import DyTracker, TrackerConfig

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


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.integers(0, 5))
def test_no_threshold_rises_with_thrift(a, b, seed):
    family, _ = family_of(direct_path(frames(60, seed), COSTS, levels=6), COSTS)
    low, high = family.thresholds(min(a, b)), family.thresholds(max(a, b))
    assert all(later <= earlier for earlier, later in zip(low, high, strict=True))


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


def test_the_path_leads_from_full_depth_to_the_first_exit():
    path = direct_path(frames(), COSTS)
    assert path[0].shares == (0, 0, 1) and path[-1].shares == (1, 0, 0)
    assert all(b.cost <= a.cost + 1e-12 for a, b in itertools.pairwise(path))
    assert all(t <= s for a, b in itertools.pairwise(path) for s, t in zip(a.thresholds, b.thresholds, strict=True))


def area(path):
    return sum((a.iou + b.iou) / 2 * (a.cost - b.cost) for a, b in itertools.pairwise(path))


@pytest.mark.parametrize(("worth", "cost"), [(0.0, 3.2), (0.1, 3.2), (0.2, 2.1), (0.4, 1.0), (9.0, 1.0)])
def test_the_knee_goes_deeper_only_while_it_pays(worth, cost):
    # Exit 2 gains 0.10 in 0.34 of full depth's time, exit 3 another 0.05: 0.29 and 0.15 a frame time.
    path = [Mix((), c, iou, ()) for c, iou in zip(COSTS[::-1], (0.65, 0.60, 0.50), strict=True)]
    assert knee(path, COSTS, worth).cost == cost


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


def test_learned_scores_beat_random_exits():
    samples = frames()
    ends = [mix(samples, thresholds, COSTS).iou for thresholds in ((-1, -1), (1, -1), (1, 1))]
    # Random exits between neighbours: straight lines between the fixed exits.
    random_iou = ((ends[0] + ends[1]) / 2 * 1.1 + (ends[1] + ends[2]) / 2 * 1.1) / 2.2
    assert mean_iou_at_costs(direct_path(samples, COSTS), samples, COSTS) > random_iou + 0.005


def test_thrift_is_the_share_of_the_cost_that_is_saved():
    samples = frames()
    family, rows = family_of(direct_path(samples, COSTS), COSTS)
    for thrift in (0.2, 0.5, 0.8):
        cost = mix(samples, family.thresholds(thrift), COSTS).cost
        assert (COSTS[-1] - cost) / (COSTS[-1] - COSTS[0]) == pytest.approx(thrift, abs=0.06)
    assert len(rows) == len(family.rows)


def test_scores_that_never_vary_still_give_a_family():
    samples = [ExitSample((0.5, 0.5, 0.5), (0.3, 0.4, 0.5))] * 20
    family, _ = family_of(direct_path(samples, COSTS), COSTS)
    assert family.thresholds(0.5)[0] <= 0.5


def test_records_say_what_each_exit_is_worth():
    samples = frames()
    row = mix(samples, (0.65, 0.66), COSTS)
    first, second, third = exit_records(samples, row)
    assert first["reached"] == 1 and second["reached"] == pytest.approx(1 - row.shares[0], abs=1e-4)
    assert third["reached"] == pytest.approx(row.shares[2], abs=1e-4)
    assert second["score_quantiles"] == sorted(second["score_quantiles"]) and len(second["mean_iou_by_tenth"]) == 10
    assert second["mean_iou"] < second["mean_iou_of_all_frames"], "the hard frames are those that reach it"


def test_held_out_iou_does_not_look_at_the_frames_it_is_measured_on(monkeypatch):
    seen = []

    def path(samples, costs):
        seen.append(len(samples))
        return direct_path(samples, costs, levels=6)

    monkeypatch.setattr(calibrate, "direct_path", path)
    assert 0.5 < held_out_iou([frames(100, seed) for seed in range(4)], COSTS) < 0.8
    assert seen == [200, 200]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two sequences of six frames in which a square moves; it is absent from one frame."""
    root = tmp_path_factory.mktemp("sequences")
    return write_sequences(root, {"slow": 4, "fast": 12}, 6, {("slow", 3), ("fast", 3)})


@pytest.fixture
def weights(tiny_weights, tmp_path):
    return shutil.copy(tiny_weights, tmp_path / "random.safetensors")


def test_every_exit_answers_on_the_same_crop(folder, tiny_weights):
    tracker = DyTracker.from_pretrained(tiny_weights, engine="torch", config=TrackerConfig(size_damping=0))
    sequence = load_sequence(folder / "slow")
    tracker.initialize(sequence.image(0), sequence.truth[0])
    start = tracker.box
    scores, boxes = tracker.predict_all_exits(sequence.image(1))
    assert tracker.box == start
    for exit_index in (1, 2, 3):
        tracker.box = start
        tracker.set_policy(FixedExit(exit_index))
        result = tracker.track(sequence.image(1))
        assert result.exit_scores == pytest.approx(scores[:exit_index], abs=1e-6)
        assert result.box == pytest.approx(boxes[exit_index - 1], abs=1e-3)


def test_frames_without_a_target_are_no_samples(folder, tiny_weights):
    tracker = DyTracker.from_pretrained(tiny_weights, engine="torch")
    samples = sample_exits(tracker, load_sequence(folder / "fast"))
    assert len(samples) == 4, "five frames after the first, one of them without a target"
    assert all(len(sample.scores) == len(sample.ious) == 3 for sample in samples)
    assert samples == sample_exits(tracker, load_sequence(folder / "fast")), "the same seed, the same exits"


def test_from_sequences_to_thresholds(folder, weights, tmp_path, capsys):
    assert NO_FILE in DyTracker.from_pretrained(weights, engine="torch").calibration_note
    options = ["--model", str(weights), "--engine", "torch", "--threads", "1"]
    assert main(["--sequences", str(folder), *options]) == 0
    printed = capsys.readouterr().out
    assert "held-out mean IoU" in printed and "8 frames of 2 sequences" in printed
    made = json.loads(calibration_file(weights).read_text())
    assert made["frames"] == 8 and made["sequences"] == ["fast", "slow"] and 0 <= made["held_out_mean_iou"] <= 1
    assert len(made["exits"][0]["score_quantiles"]) == 11
    assert made["relative_costs"][0] == 1 and made["relative_costs"] == sorted(made["relative_costs"])

    assert DyTracker.from_pretrained(weights, engine="torch").policy.thresholds == tuple(made["thresholds"])
    policy = FrameBudget(0.02)
    tracker = DyTracker.from_pretrained(weights, engine="torch", policy=policy)
    assert tracker.calibration_note == "random.calibration.json"
    low, high = (min(map(min, made["family"]["thresholds"])), max(map(max, made["family"]["thresholds"])))
    policy.budget_s = sum(policy.exit_seconds(k) for k in (1, 3)) / 2
    assert all(low <= tau <= high for tau in policy.thresholds_in_force)

    card = tmp_path / "card.json"
    card.write_text("{}")
    assert evaluate.main(["--sequences", str(folder), *options, "--exits", "adaptive", "--card", str(card)]) == 0
    assert json.loads(card.read_text())["evaluation"]["standard"]["adaptive"]["thresholds"] == made["thresholds"]

    (tmp_path / "other").mkdir()
    other = save_weights(tmp_path / "other" / "random.safetensors", random_model(seed=1))
    shutil.copy(calibration_file(weights), calibration_file(other))
    tracker = DyTracker.from_pretrained(other, engine="torch")
    assert tracker.calibration is None and "was made for weights" in tracker.calibration_note


def test_what_cannot_be_calibrated_is_said(folder, weights, tmp_path, capsys):
    options = ["--model", str(weights), "--engine", "torch", "--threads", "1"]
    one = write_sequences(tmp_path / "one", {"slow": 4})
    for arguments, message in (
        ([str(tmp_path / "nowhere")], "no sequences"),
        ([str(one)], "has one sequence"),
        ([str(folder), "--first", "1"], "no frames with a target"),
    ):
        assert main(["--sequences", *arguments, *options]) == 2
        assert message in capsys.readouterr().err
