"""The exit rules that keep no budget: fixed thresholds, with and without trust, fixed and random exits."""

import math

import numpy as np
import pytest

from dytrack_ros.policies import ExitPolicy, ExitTrace, ExitTrust, FixedExit, FixedThresholds, RandomExit
from dytrack_ros.policies.exit_policy import DEFAULT_THRESHOLDS, default_thresholds
from dytrack_ros.policies.exit_trust import COMPARED_EVERY
from dytrack_ros.policies.latency_model import LatencyModel
from dytrack_ros.tracking import DyTracker, RecoverySettings, StateThresholds, TrackerConfig


def test_the_papers_rule():
    policy = FixedThresholds((0.7, 0.6))
    for _ in range(20):
        assert not policy.needs_comparison and not policy.needs_costs
        policy.observe(ExitTrace(1, (0.71,), (0.01,), 0.02))
        assert policy.should_exit(1, 0.71, 0.0) and not policy.should_exit(1, 0.7, 0.0)
        assert policy.thresholds_in_force == policy.thresholds == (0.7, 0.6)
    policy.thresholds = (0.1, 0.2)
    assert policy.should_exit(1, 0.15, 0.0) and repr(policy) == "FixedThresholds((0.1, 0.2))"
    with pytest.raises(ValueError, match="exit 3 has no threshold"):
        policy.should_exit(3, 0.5, 0.0)
    assert [len(default_thresholds(count)) for count in (1, 3, 5)] == [0, 2, 4]
    assert default_thresholds(3) == DEFAULT_THRESHOLDS


def test_random_exits_follow_their_probabilities():
    policy = RandomExit((0.5, 0.3, 0.2), seed=1)
    taken = [next((k for k in (1, 2) if policy.should_exit(k, 0.0, 0.0)), 3) for _ in range(4000)]
    assert np.bincount(taken, minlength=4)[1:] / 4000 == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedThresholds((0.5, 1.5)),
        lambda: FixedThresholds((float("nan"), 0.5)),
        lambda: FixedExit(0),
        lambda: RandomExit((0.5, 0.2, 0.2)),
        lambda: RandomExit((float("nan"), 0.5, 0.5)),
        lambda: ExitTrust(rate=-0.1),
        lambda: ExitTrust(rate=1.1),
        lambda: ExitTrust(rate=math.nan),
        lambda: ExitTrust(impatience=-1),
        lambda: ExitTrust(impatience=math.inf),
        lambda: LatencyModel(memory=0),
        lambda: RecoverySettings(match=1.5),
    ],
)
def test_values_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="must"):
        make()


def test_a_policy_must_say_when_to_exit():
    with pytest.raises(NotImplementedError):
        ExitPolicy().should_exit(1, 0.5, 0.0)
    assert FixedExit(2).thresholds_in_force == () and repr(FixedExit(2)) == "FixedExit(2)"


# --- trust -----------------------------------------------------------------------------------------------------------


def test_thresholds_follow_the_bias_of_an_exit():
    wrong, modest = ExitTrust(rate=0.2, impatience=0), ExitTrust(rate=0.2, impatience=0)
    for _ in range(60):
        wrong.observe(2, (0.8, 0.8), (0.3,))
        modest.observe(2, (0.6, 0.8), (0.9,))
    assert wrong.score_bias(1) == pytest.approx(-0.5, abs=1e-3)
    assert wrong.threshold(1, 0.4) == pytest.approx(0.9, abs=1e-3)
    assert modest.threshold(1, 0.8) == pytest.approx(0.5, abs=1e-3)
    assert wrong.threshold(2, 0.4) == modest.threshold(2, 0.4) == 0.4, "exit 2 was never compared"
    assert wrong.threshold(1, 0.9) == 1 and modest.threshold(1, 0.1) == 0, "thresholds stay in [0, 1]"
    assert (wrong.threshold(1, 1.0), wrong.threshold(1, 0.0)) == (1, 0), "never and always stay"
    wrong.restart()
    assert wrong.threshold(1, 0.4) == 0.4


def test_the_threshold_of_exit_1_grows_while_it_answers_alone():
    trust = ExitTrust(rate=0, impatience=0.1)
    for frames in range(5):
        assert trust.threshold(1, 0.5) == pytest.approx(0.5 * (1 + 0.1 * frames)) and trust.threshold(2, 0.5) == 0.5
        trust.observe(1, (0.9,), ())
    trust.observe(2, (0.5, 0.9), ())
    assert trust.threshold(1, 0.5) == 0.5


def test_exits_are_compared_now_and_then_and_bad_numbers_teach_nothing():
    trust, asked = ExitTrust(rate=0.5), []
    for _ in range(4 * COMPARED_EVERY):
        asked.append(trust.wants_comparison)
        trust.observe(2, (0.5, 0.9), (0.5,) if asked[-1] else ())
    assert asked == [True, *[False] * (COMPARED_EVERY - 1)] * 4
    for score, agreement in ((math.nan, 0.5), (0.5, math.nan), (math.inf, 0.5)):
        trust.observe(2, (score, 0.9), (agreement,))
    assert trust.score_bias(1) == 0


def test_thresholds_with_trust():
    policy = FixedThresholds((0.5, 0.0), ExitTrust(0.5, 0))
    assert policy.needs_comparison and policy.thresholds_in_force == (0.5, 0.0)
    policy.observe(ExitTrace(2, (0.8, 0.8), (0.01, 0.01), 0.03, agreements=(0.2,)))
    assert policy.thresholds_in_force == pytest.approx((0.8, 0.0)) and policy.thresholds == (0.5, 0.0)
    assert policy.should_exit(1, 0.81, 0.0) and not policy.should_exit(1, 0.79, 0.0)
    assert not policy.needs_comparison and "rate=0.5" in repr(policy)
    assert (policy.trust.rate, policy.trust.impatience) == (0.5, 0)
    policy.on_new_target()
    assert policy.thresholds_in_force == (0.5, 0.0)


# --- in the tracker --------------------------------------------------------------------------------------------------


class Recording(ExitPolicy):
    """Compares exits and stops at a given one."""

    needs_comparison = True

    def __init__(self, exit_index):
        self.exit_index, self.traces, self.restarts = exit_index, [], 0

    def should_exit(self, exit_index, score, elapsed_s):
        return exit_index == self.exit_index

    def observe(self, trace):
        self.traces.append(trace)

    def on_new_target(self):
        self.restarts += 1


@pytest.fixture(scope="module")
def tracker(tiny_weights):
    return DyTracker.from_pretrained(tiny_weights, engine="torch")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


@pytest.mark.parametrize("exit_index", [1, 2, 3])
def test_a_comparison_changes_no_answer(tracker, image, exit_index):
    policy = Recording(exit_index)
    tracker.set_policy(policy)
    tracker.initialize(image, (100, 80, 60, 50))
    assert policy.restarts == 2, "taken over, then a new target"
    _, boxes = tracker.predict_all_exits(image)
    compared = tracker.track(image)
    expected = [_overlap(box, boxes[exit_index - 1]) for box in boxes[: exit_index - 1]]
    assert all(0 < overlap < 1 for overlap in expected), "boxes that tell something"
    assert compared.agreements == pytest.approx(tuple(expected), abs=1e-6) and policy.traces == [compared]
    tracker.set_policy(FixedExit(exit_index))
    tracker.initialize(image, (100, 80, 60, 50))
    plain = tracker.track(image)
    assert plain.agreements == () and plain.box == compared.box and plain.exit_scores == compared.exit_scores


def test_nothing_is_compared_during_a_search(tiny_weights, image):
    states = StateThresholds(uncertain=1.0, lost=1.0, lost_frames=1)
    policy = Recording(2)
    config = TrackerConfig(states, RecoverySettings())
    tracker = DyTracker.from_pretrained(tiny_weights, engine="torch", policy=policy, config=config)
    tracker.initialize(image, (100, 80, 60, 50))
    for _ in range(4):
        tracker.track(image)
    assert policy.traces[0].agreements and not policy.traces[-1].agreements


def _overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
