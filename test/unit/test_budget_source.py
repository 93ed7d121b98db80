"""The source of the budget: the camera's period, the pace, the overhead, and the modes."""

import math

import pytest

from dytrack_ros.policies.budget_source import MODES, BudgetSource, CameraPace, CameraPeriod, Overhead
from dytrack_ros.policies.frame_budget import MAX_BUDGET_S, MIN_BUDGET_S


def period_after(*stamps_s):
    period = CameraPeriod()
    for stamp_s in stamps_s:
        period.observe(stamp_s)
    return period


STEPS = [0.1] * 8 + [0.3, 0.001, 0.1, 0.1, -0.1, 0.2, 5.0, 0.1, 0.1]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0.0, 0.1, 0.2, 0.3, 0.4], None),
        ([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 0.1),
        ([sum(STEPS[:count]) for count in range(len(STEPS) + 1)], 0.1),
        ([*(index * 0.1 for index in range(60)), *(5.9 + index / 30 for index in range(1, 20))], 1 / 30),
        ([0.0] * 50, None),
    ],
    ids=["too few", "enough", "lost frames, bursts and swaps", "a new rate", "no stamps"],
)
def test_the_cameras_period(stamps, expected):
    period = period_after(*stamps)
    assert period.seconds == (expected and pytest.approx(expected))
    period.restart()
    assert period.seconds is None
    for stamp_s in range(100, 106):
        period.observe(stamp_s * 0.5)
    assert period.seconds == 0.5, "the step across the restart does not count"


def paces(pace, needs, period_s=0.03):
    return [pace.update(period_s * need, period_s) for need in needs]


def test_pace_is_the_least_number_of_periods_for_the_first_exit():
    for needed_s, frames in ((0.0, 1), (0.029, 1), (0.03, 1), (0.031, 2), (0.06, 2), (0.1, 4)):
        assert CameraPace().update(needed_s, 0.03) == frames
    pace = CameraPace(patience=3)
    assert paces(pace, [3.5]) == [4], "at once"
    assert [pace.update(0.1, 0.01) for _ in range(4)] == [4, 4, 10, 10]
    assert [pace.update(0.1, 0.2) for _ in range(4)] == [10, 10, 1, 1]


def test_pace_needs_a_margin_to_decrease_and_patience_to_change():
    needs = (0.95, 1.02, 0.95, 0.99, 0.9, 1.05, 0.86, 0.84, 0.99)
    assert paces(CameraPace(margin=0.15, patience=1), needs) == [1, 2, 2, 2, 2, 2, 2, 1, 1]
    needs = (0.9, 1.5, 1.5, 0.9, 1.5, 1.5, 1.5, 0.5, 0.5, 1.5, 0.5, 0.5, 0.5)
    assert paces(CameraPace(margin=0.15, patience=3), needs) == [1] * 6 + [2] * 6 + [1]


def test_overhead_is_the_mean_from_the_first_frame_on():
    overhead = Overhead(memory=10)
    assert overhead.seconds == 0
    for seconds in (0.002, 0.004, math.nan, math.inf, -1.0):
        overhead.observe(seconds)
    assert overhead.seconds == pytest.approx(0.003)
    for _ in range(100):
        overhead.observe(0.01)
    assert overhead.seconds == pytest.approx(0.01, rel=1e-3)


def test_budget_of_every_mode():
    for mode, budget_s in {"camera": 0.085, "rate": 0.045, "milliseconds": 0.02, "unlimited": None}.items():
        source = BudgetSource(mode, rate_hz=20, milliseconds=20, headroom=0.9)
        assert source.budget_s(0.1, 0.005, 0.06) == (budget_s and pytest.approx(budget_s))
    assert BudgetSource("camera").budget_s(None, 0.005, 0.06) is None
    assert BudgetSource("rate", rate_hz=1000).budget_s(None, 0.5, None) == MIN_BUDGET_S
    assert BudgetSource("camera").budget_s(1000.0, 0.0, 0.1) == MAX_BUDGET_S


def test_a_camera_budget_is_a_whole_number_of_periods():
    source = BudgetSource("camera", headroom=0.9)
    assert source.budget_s(1 / 30, 0.005, 0.061) == pytest.approx(3 * 0.03 - 0.005)
    assert source.budget_s(1 / 30, 0.005, 0.02) == source.budget_s(1 / 30, 0.005, None) == pytest.approx(0.025)
    pace = CameraPace(patience=1)
    budgets = [source.budget_s(1 / 30, 0.0, first_s, pace) for first_s in (0.029, 0.031, 0.029, 0.02)]
    assert budgets == pytest.approx([0.03, 0.06, 0.06, 0.03])
    assert pace.frames == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BudgetSource("fast"), f"must be one of {', '.join(MODES)}"),
        (lambda: BudgetSource(rate_hz=0.0), "rate_hz is 0.0; it must be positive"),
        (lambda: BudgetSource(milliseconds=-3.0), "milliseconds is -3.0"),
        (lambda: BudgetSource(headroom=math.nan), "headroom is nan"),
        (lambda: CameraPace(margin=-0.1), "margin is -0.1"),
        (lambda: CameraPace(margin=1.0), "margin is 1.0"),
        (lambda: CameraPace(margin=math.nan), "margin is nan"),
        (lambda: CameraPace(patience=0), "patience is 0"),
        (lambda: Overhead(memory=0), "memory is 0"),
    ],
)
def test_impossible_values_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
