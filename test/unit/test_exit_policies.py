"""The exit rules that keep no budget: fixed thresholds, fixed and random exits."""

import numpy as np
import pytest

from dytrack_ros.policies import ExitPolicy, ExitTrace, FixedExit, FixedThresholds, RandomExit
from dytrack_ros.policies.exit_policy import DEFAULT_THRESHOLDS, default_thresholds
from dytrack_ros.policies.latency_model import LatencyModel
from dytrack_ros.tracking import DyTracker, RecoverySettings


def test_the_papers_rule():
    policy = FixedThresholds((0.7, 0.6))
    for _ in range(20):
        assert not policy.needs_costs
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


# --- in the tracker --------------------------------------------------------------------------------------------------


class Recording(ExitPolicy):
    """Stops at exit 2."""

    def __init__(self):
        self.traces, self.restarts = [], 0

    def should_exit(self, exit_index, score, elapsed_s):
        return exit_index == 2

    def observe(self, trace):
        self.traces.append(trace)

    def on_new_target(self):
        self.restarts += 1


def test_a_policy_hears_of_every_target_and_frame(tiny_weights):
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    policy = Recording()
    tracker = DyTracker.from_pretrained(tiny_weights, engine="torch", policy=policy)
    tracker.initialize(image, (100, 80, 60, 50))
    assert policy.restarts == 2, "taken over, then a new target"
    assert [tracker.track(image), tracker.track(image)] == policy.traces
    assert [trace.exit_index for trace in policy.traces] == [2, 2]
