"""What a target teaches of its exits: thresholds that follow, comparisons that are asked for, the paper's rule without."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dytrack_ros.policies import ExitPolicy, ExitTrust, FixedExit, FixedThresholds
from dytrack_ros.policies.exit_trust import COMPARED_EVERY
from dytrack_ros.tracking import DyTracker, TrackerConfig
from dytrack_ros.tracking.recovery import RecoverySettings
from dytrack_ros.tracking.state import StateThresholds


def test_without_rate_and_impatience_nothing_moves():
    trust = ExitTrust(rate=0, impatience=0)
    for _ in range(50):
        assert not trust.wants_comparison and not trust.shifts
        trust.observe(2, (0.9, 0.9), (0.1,))
        trust.observe(1, (0.9,), ())
        assert trust.threshold(1, 0.7) == 0.7 and trust.threshold(2, 0.6) == 0.6


def test_an_exit_that_is_sure_and_wrong_is_asked_for_more_and_one_that_is_better_than_it_thinks_for_less():
    wrong, modest = ExitTrust(rate=0.2, impatience=0), ExitTrust(rate=0.2, impatience=0)
    for _ in range(60):
        wrong.observe(2, (0.8, 0.8), (0.3,))
        modest.observe(2, (0.6, 0.8), (0.9,))
    assert wrong.underrated(1) == pytest.approx(-0.5, abs=1e-3) and wrong.threshold(1, 0.4) == pytest.approx(
        0.9, abs=1e-3
    )
    assert modest.underrated(1) == pytest.approx(0.3, abs=1e-3) and modest.threshold(1, 0.8) == pytest.approx(
        0.5, abs=1e-3
    )
    assert wrong.threshold(2, 0.4) == modest.threshold(2, 0.4) == 0.4, "of exit 2 nothing is known"
    assert wrong.threshold(1, 0.9) == 1 and modest.threshold(1, 0.1) == 0, "thresholds stay in [0, 1]"
    wrong.restart()
    assert wrong.threshold(1, 0.4) == 0.4, "another target"


def test_the_first_exit_is_asked_for_more_the_longer_it_answers_alone():
    trust = ExitTrust(rate=0, impatience=0.1)
    for frames in range(5):
        assert trust.threshold(1, 0.5) == pytest.approx(0.5 * (1 + 0.1 * frames)) and trust.threshold(2, 0.5) == 0.5
        trust.observe(1, (0.9,), ())
    trust.observe(2, (0.5, 0.9), ())
    assert trust.threshold(1, 0.5) == 0.5


def test_never_stays_never_and_always_always():
    for agreement in (0.0, 1.0):
        trust = ExitTrust(rate=1.0, impatience=0.5)
        trust.observe(2, (0.5, 0.9), (agreement,))
        assert trust.underrated(1) != 0 and (trust.threshold(1, 1.0), trust.threshold(1, 0.0)) == (1, 0)


def test_comparisons_are_asked_for_now_and_then_and_what_is_no_number_teaches_nothing():
    trust = ExitTrust(rate=0.5)
    asked = []
    for _ in range(4 * COMPARED_EVERY):
        asked.append(trust.wants_comparison)
        trust.observe(2, (0.5, 0.9), (0.5,) if asked[-1] else ())
    assert asked == [True, *[False] * (COMPARED_EVERY - 1)] * 4
    for score, agreement in ((math.nan, 0.5), (0.5, math.nan), (math.inf, 0.5)):
        trust.observe(2, (score, 0.9), (agreement,))
    assert trust.underrated(1) == 0


@pytest.mark.parametrize(
    "bad", [{"rate": -0.1}, {"rate": 1.1}, {"rate": math.nan}, {"impatience": -1}, {"impatience": math.inf}]
)
def test_values_that_mean_nothing_are_refused(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"{name} is .*must"):
        ExitTrust(**bad)


class Recording(ExitPolicy):
    """A policy that compares exits and leaves at a given one."""

    needs_comparison = True

    def __init__(self, exit_index):
        self.exit_index, self.results, self.restarts = exit_index, [], 0

    def should_exit(self, exit_index, score, elapsed_s):
        return exit_index == self.exit_index

    def observe(self, trace):
        self.results.append(trace)

    def on_new_target(self):
        self.restarts += 1


@pytest.fixture
def tracker(tiny_weights):
    return DyTracker.from_pretrained(tiny_weights, engine="torch")


@pytest.mark.parametrize("exit_index", [1, 2, 3])
def test_the_tracker_compares_where_a_policy_asks_and_answers_the_same(tracker, exit_index):
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    policy = Recording(exit_index)
    tracker.set_policy(policy)
    tracker.initialize(image, (100, 80, 60, 50))
    assert policy.restarts == 2, "taken over, then a new target"
    _, boxes = tracker.predict_all_exits(image)
    compared = tracker.track(image)
    expected = [_overlap(box, boxes[exit_index - 1]) for box in boxes[: exit_index - 1]]
    assert all(0 < overlap < 1 for overlap in expected), "boxes that tell something"
    assert compared.agreements == pytest.approx(tuple(expected), abs=1e-6) and policy.results == [compared]
    tracker.set_policy(FixedExit(exit_index))
    tracker.initialize(image, (100, 80, 60, 50))
    plain = tracker.track(image)
    assert plain.agreements == () and plain.box == compared.box and plain.exit_scores == compared.exit_scores


def test_a_target_that_is_looked_for_is_not_compared(tracker):
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    states = StateThresholds(uncertain=1.0, lost=1.0, lost_frames=1)
    tracker.set_config(TrackerConfig(states, RecoverySettings()))
    policy = Recording(2)
    tracker.set_policy(policy)
    tracker.initialize(image, (100, 80, 60, 50))
    for _ in range(4):
        tracker.track(image)
    assert policy.results[0].agreements and not policy.results[-1].agreements


def _overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def test_thresholds_learn_from_results():
    policy = FixedThresholds((0.5, 0.0), ExitTrust(0.5, 0))
    assert policy.needs_comparison and policy.thresholds_in_force == (0.5, 0.0)
    policy.observe(SimpleNamespace(exit_index=2, exit_scores=(0.8, 0.8), agreements=(0.2,)))
    assert policy.thresholds_in_force == pytest.approx((0.8, 0.0)) and policy.thresholds == (0.5, 0.0)
    assert policy.should_exit(1, 0.81, 0.0) and not policy.should_exit(1, 0.79, 0.0)
    assert not policy.needs_comparison, "it has just been told"
    policy.on_new_target()
    assert policy.thresholds_in_force == (0.5, 0.0)


def test_the_papers_rule_is_the_default_of_fixed_thresholds():
    policy = FixedThresholds((0.7, 0.6))
    for _ in range(20):
        assert not policy.needs_comparison
        policy.observe(SimpleNamespace(exit_index=1, exit_scores=(0.71,), agreements=()))
        assert policy.should_exit(1, 0.71, 0.0) and not policy.should_exit(1, 0.7, 0.0)
    assert repr(policy) == "FixedThresholds((0.7, 0.6))"
    assert "rate=0.1" in repr(FixedThresholds((0.7, 0.6), ExitTrust(0.1, 0.0)))
