"""Where the budget comes from: the camera's period, the pace that it allows, the overhead, and the modes."""

import math

import pytest

from dytrack_ros.policies.budget_source import MODES, BudgetSource, CameraPace, CameraPeriod, Overhead
from dytrack_ros.policies.frame_budget import MAX_BUDGET_S, MIN_BUDGET_S


def seen(*stamps_s):
    period = CameraPeriod()
    for stamp_s in stamps_s:
        period.observe(stamp_s)
    return period


def test_the_period_is_known_after_a_few_images():
    assert seen(0.0, 0.1, 0.2, 0.3, 0.4).seconds is None
    assert seen(0.0, 0.1, 0.2, 0.3, 0.4, 0.5).seconds == pytest.approx(0.1)


def test_lost_frames_bursts_and_swaps_do_not_move_it():
    steps = [0.1] * 8 + [0.3, 0.001, 0.1, 0.1, -0.1, 0.2, 5.0, 0.1, 0.1]
    stamps = [sum(steps[:count]) for count in range(len(steps) + 1)]
    assert seen(*stamps).seconds == pytest.approx(0.1)


def test_a_camera_that_changes_its_rate_is_followed_within_its_window():
    period = seen(*(index * 0.1 for index in range(60)))
    for index in range(1, 20):
        period.observe(5.9 + index / 30)
    assert period.seconds == pytest.approx(1 / 30)


def test_without_stamps_there_is_no_period():
    assert seen(*[0.0] * 50).seconds is None


def test_restart_forgets_the_camera():
    period = seen(*range(20))
    period.restart()
    assert period.seconds is None
    for stamp_s in range(100, 106):
        period.observe(stamp_s * 0.5)
    assert period.seconds == 0.5, "the step across the restart does not count"


def test_pace_is_the_first_frame_that_leaves_time_for_the_first_exit():
    for needed_s, frames in ((0.0, 1), (0.029, 1), (0.03, 1), (0.031, 2), (0.06, 2), (0.1, 4)):
        assert CameraPace().update(needed_s, 0.03) == frames


def paces(pace, needs, period_s=0.03):
    return [pace.update(period_s * need, period_s) for need in needs]


def test_pace_returns_only_with_a_margin():
    pace = CameraPace(margin=0.15, patience=1)
    assert paces(pace, (0.95, 1.02, 0.95, 0.99, 0.9, 1.05, 0.86, 0.84, 0.99)) == [1, 2, 2, 2, 2, 2, 2, 1, 1]


def test_pace_does_not_follow_a_moments_load():
    pace = CameraPace(margin=0.15, patience=3)
    assert paces(pace, (0.9, 1.5, 1.5, 0.9, 1.5, 1.5, 1.5, 0.5, 0.5, 1.5, 0.5, 0.5, 0.5)) == [1] * 6 + [2] * 6 + [1]


def test_pace_starts_where_it_belongs_and_goes_with_another_camera():
    pace = CameraPace(patience=3)
    assert paces(pace, [3.5]) == [4], "at once"
    assert [pace.update(0.1, 0.01) for _ in range(4)] == [4, 4, 10, 10]
    assert [pace.update(0.1, 0.2) for _ in range(4)] == [10, 10, 1, 1]


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"margin": 1.0}, {"margin": math.nan}, {"patience": 0}])
def test_pace_refuses_what_makes_no_sense(options):
    with pytest.raises(ValueError, match="|".join(options)):
        CameraPace(**options)


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


def test_camera_budget_ends_where_the_first_frame_comes_that_the_first_exit_can_make():
    source = BudgetSource("camera", headroom=0.9)
    assert source.budget_s(1 / 30, 0.005, 0.061) == pytest.approx(3 * 0.03 - 0.005)
    assert source.budget_s(1 / 30, 0.005, 0.02) == pytest.approx(0.025)
    assert source.budget_s(1 / 30, 0.005, None) == pytest.approx(0.025)


def test_camera_budget_keeps_its_pace():
    source, pace = BudgetSource("camera", headroom=0.9), CameraPace(patience=1)
    budgets = [source.budget_s(1 / 30, 0.0, first_s, pace) for first_s in (0.029, 0.031, 0.029, 0.02)]
    assert budgets == pytest.approx([0.03, 0.06, 0.06, 0.03])
    assert pace.frames == 1


def test_a_budget_is_always_one_that_frame_budget_takes():
    assert BudgetSource("rate", rate_hz=1000).budget_s(None, 0.5, None) == MIN_BUDGET_S
    assert BudgetSource("camera").budget_s(1000.0, 0.0, 0.1) == MAX_BUDGET_S


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mode": "fast"}, f"must be one of {', '.join(MODES)}"),
        ({"rate_hz": 0.0}, "rate_hz is 0.0; it must be positive"),
        ({"milliseconds": -3.0}, "milliseconds is -3.0"),
        ({"headroom": math.nan}, "headroom is nan"),
    ],
)
def test_impossible_sources_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        BudgetSource(**values)
