"""The policy and budget of each frame, and their description in diagnostics; with a tracker that measures nothing."""

import math

import pytest

from dytrack_ros.nodes.budget import BudgetSettings, NodeBudget
from dytrack_ros.nodes.parameters import TRACKER
from dytrack_ros.policies import ExitCosts, ExitReason, FixedExit, FrameBudget
from dytrack_ros.policies.budget_source import BudgetSource
from dytrack_ros.tracking import TrackResult, TrackState

COSTS = ExitCosts(stages=(0.02, 0.03, 0.04), head=0.01)  # exits at 30, 60 and 100 ms
TAUS = (0.6, 0.7)
THRESHOLDS = BudgetSettings(BudgetSource("unlimited"), thresholds=TAUS)


class FakeTracker:
    """Counts the benchmarks; `policy` as DyTracker's."""

    exit_count = 3
    engine_name = "first (cpu)"
    costs = COSTS
    calibration = None
    calibration_note = "no such file: default thresholds"

    def __init__(self):
        self.benchmarks = 0
        self.policies = []

    def exit_costs(self):
        self.benchmarks += 1
        return self.costs

    @property
    def policy(self):
        return self.policies[-1]

    def set_policy(self, policy):
        if policy.needs_costs:
            policy.on_engine(self.costs, self.calibration)
        policy.on_new_target()
        self.policies.append(policy)


class Bench:
    """A node's budget, a tracker, and frames that take what they are told to."""

    def __init__(self):
        self.tracker = FakeTracker()
        self.budget = NodeBudget(self.tracker)
        self.benchmarks_at_start = self.tracker.benchmarks

    def prepare(self, settings=THRESHOLDS, **source):
        if source:
            settings = BudgetSettings(BudgetSource(**source), thresholds=TAUS)
        self.budget.prepare(self.tracker, settings)
        return self.budget.terms

    def camera(self, period_s, images=40, start_s=1000.0):
        for index in range(images):
            self.budget.image_arrived(start_s + index * period_s)

    def frame(self, seconds=0.06, beside_s=0.0, exit_index=2, scores=(0.5, 0.8)):
        stages = COSTS.stages[:exit_index]
        result = TrackResult(
            exit_index, scores, stages, seconds, box=(0, 0, 9, 9), score=scores[-1], state=TrackState.TRACKING
        )
        self.tracker.policy.observe(result)
        self.budget.observe(seconds, seconds + beside_s)

    @property
    def policy(self):
        return self.tracker.policy

    @property
    def figures(self):
        return self.budget.view().figures()

    @property
    def sentence(self):
        return self.budget.view().sentence()


@pytest.fixture
def bench():
    return Bench()


def test_exits_are_measured_at_the_start_and_never_again(bench):
    assert bench.benchmarks_at_start == 1
    for settings in (THRESHOLDS, BudgetSettings(BudgetSource("rate")), BudgetSettings(fixed_exit=2, thresholds=TAUS)):
        bench.prepare(settings)
        bench.frame()
    assert bench.tracker.benchmarks == 1
    assert bench.figures["exit_costs_ms"] == "30.0, 60.0, 100.0"
    assert bench.figures["calibration"] == "no such file: default thresholds"


@pytest.mark.parametrize(
    ("source", "more", "limits"),
    [
        (BudgetSource("camera"), {}, (0.03, None)),  # 0.9 of the period at 30 Hz
        (BudgetSource("camera"), {"keep_period": True}, (0.03, 1 / 30)),
        (BudgetSource("rate", rate_hz=10), {"keep_period": True}, (0.1, None)),
        (BudgetSource("milliseconds", milliseconds=65), {"deadline_s": 0.08}, (0.065, 0.08)),
        (BudgetSource("unlimited"), {}, (None, None)),
    ],
)
def test_the_limits_before_images_come(source, more, limits):
    assert BudgetSettings(source, **more).limits_at_start() == pytest.approx(limits)


def test_off_means_the_thresholds(bench):
    terms = bench.prepare(mode="unlimited")
    assert (terms.budget_s, terms.thrift, terms.slowdown, terms.thresholds) == (0, 0, 1, TAUS)
    for _ in range(20):
        bench.frame(5.0)
    assert bench.prepare(mode="unlimited").thresholds == TAUS, "however long frames take"
    assert bench.figures["budget_state"] == "none"
    assert bench.sentence == ""


def test_a_fixed_exit_counts_whatever_the_budget(bench):
    terms = bench.prepare(BudgetSettings(BudgetSource("rate"), fixed_exit=2, thresholds=TAUS))
    assert isinstance(bench.policy, FixedExit)
    assert bench.policy.exit_index == 2
    assert (terms.budget_s, terms.thresholds) == (0, ())
    assert bench.figures["budget_from"] == "none: exit.policy is fixed, exit 2"


def test_milliseconds_are_the_trackers_own(bench):
    bench.prepare(mode="milliseconds", milliseconds=65)
    for _ in range(20):
        bench.frame(beside_s=0.02)
    terms = bench.prepare(mode="milliseconds", milliseconds=65)
    assert terms.budget_s == pytest.approx(0.065)
    assert isinstance(bench.policy, FrameBudget)
    assert terms.thresholds == pytest.approx(bench.policy.thresholds_in_force)
    assert terms.asked_thresholds == TAUS
    assert bench.figures["budget_state"] == "KEEPING"


def test_a_rate_leaves_time_for_all_that_a_frame_needs(bench):
    bench.prepare(mode="rate", rate_hz=10)
    for _ in range(40):
        bench.frame(beside_s=0.015)
    assert bench.prepare(mode="rate", rate_hz=10).budget_s == pytest.approx(0.085)
    assert bench.policy.overhead_s == pytest.approx(0.015)


def test_the_camera_is_waited_for_and_then_followed(bench):
    assert bench.prepare(mode="camera").thresholds == TAUS
    assert "unknown" in bench.figures["budget_from"]
    bench.camera(0.1)
    assert bench.prepare(mode="camera").budget_s == pytest.approx(0.09)
    assert bench.figures["budget_from"] == "camera, every frame of 100.0 ms"
    bench.budget.forget_camera()
    assert bench.prepare(mode="camera").budget_s == 0
    bench.camera(0.05, start_s=10.0)
    assert bench.prepare(mode="camera").budget_s == pytest.approx(0.045)


def test_a_camera_that_is_too_fast_for_the_first_exit_is_followed_at_a_fraction(bench):
    bench.camera(0.02)
    assert bench.prepare(mode="camera").budget_s == pytest.approx(0.036)
    assert bench.figures["budget_from"] == "camera, one frame in 2 of 20.0 ms"
    assert bench.figures["budget_state"] == "KEEPING"
    assert bench.sentence == (
        "the period of the camera is 20 ms, the first exit takes 30 ms: one frame in 2 is tracked, within 36 ms"
    )


def test_the_pace_does_not_waver_while_the_first_exit_takes_about_one_period(bench):
    bench.camera(0.06 / 0.9)  # usable: 60 ms
    bench.prepare(mode="camera")
    paces = []
    for step in range(120):
        seconds = 0.063 if step % 20 < 10 else 0.058
        bench.frame(seconds, exit_index=1, scores=(0.9,))
        bench.prepare(mode="camera")
        paces.append(bench.budget.view().periods)
    assert paces == sorted(paces), "up once, never back"


def test_a_budget_that_hardly_moves_by_itself_is_left_alone(bench):
    settings = BudgetSettings(BudgetSource("rate", rate_hz=10), thresholds=TAUS)
    before = bench.prepare(settings)
    bench.frame(beside_s=0.0009)
    assert bench.prepare(settings) is not before
    assert bench.prepare(settings).budget_s == before.budget_s
    for _ in range(30):
        bench.frame(beside_s=0.002)
    assert bench.prepare(settings).budget_s < before.budget_s
    assert bench.prepare(mode="milliseconds", milliseconds=65).budget_s == pytest.approx(0.065)
    assert bench.prepare(mode="milliseconds", milliseconds=65.1).budget_s == pytest.approx(0.0651), "the user's word"


def test_other_settings_do_not_reset_what_was_learned(bench):
    bench.prepare(mode="milliseconds", milliseconds=65)
    for _ in range(60):
        bench.frame(0.12)  # everything takes twice its time
    learned = bench.prepare(mode="milliseconds", milliseconds=65)
    assert learned.slowdown == pytest.approx(2, rel=0.05)
    bench.prepare(mode="unlimited")
    bench.prepare(BudgetSettings(fixed_exit=1, thresholds=TAUS))
    again = bench.prepare(mode="rate", rate_hz=1 / 0.065)
    assert again.slowdown == learned.slowdown
    assert again.thrift == pytest.approx(0.96, abs=0.01), "what this budget needs at that slow-down"
    assert len([policy for policy in set(bench.tracker.policies) if isinstance(policy, FrameBudget)]) == 1


def test_another_engine_is_measured_once_and_starts_afresh_with_the_same_settings(bench):
    settings = BudgetSettings(BudgetSource("milliseconds", milliseconds=300), None, TAUS, 0.4)
    bench.prepare(settings)
    for _ in range(30):
        bench.frame(0.12)
    bench.tracker.engine_name = "second (cpu)"
    bench.tracker.costs = ExitCosts(stages=(0.2, 0.3, 0.4), head=0.1)
    terms = bench.prepare(settings)
    assert bench.tracker.benchmarks == 2
    assert bench.figures["exit_costs_ms"] == "300.0, 600.0, 1000.0"
    assert (terms.budget_s, terms.thrift, terms.slowdown) == (0.3, 1.0, 1.0)
    assert bench.policy.exit_seconds(3) == pytest.approx(1.0)
    assert bench.policy.deadline_s == 0.4
    assert bench.figures["mean_ms"] == "0.0"
    assert bench.prepare(THRESHOLDS).thresholds == TAUS
    assert bench.tracker.benchmarks == 2


def test_a_measurement_that_fails_is_not_tried_before_every_frame(bench):
    def fail():
        raise RuntimeError("no engine is left")

    bench.prepare()
    bench.tracker.engine_name = "second (cpu)"
    bench.tracker.exit_costs = fail
    with pytest.raises(RuntimeError):
        bench.prepare()
    bench.prepare()


def test_all_settings_reach_the_policy(bench):
    settings = BudgetSettings(BudgetSource("rate"), None, TAUS, 0.05, 2.0)
    bench.prepare(settings)
    policy = bench.policy
    assert (policy.deadline_s, policy.deadline_sigmas) == (0.05, 2.0)
    bench.prepare(BudgetSettings(BudgetSource("rate"), None, TAUS))
    assert (policy.deadline_s, policy.deadline_sigmas) == (None, 3.0)


def test_asked_thresholds_are_live_in_every_mode(bench):
    bench.camera(0.2)
    for source in (BudgetSource("camera"), BudgetSource("rate", rate_hz=5), BudgetSource("unlimited")):
        for taus in (TAUS, (0.2, 0.3)):
            terms = bench.prepare(BudgetSettings(source, thresholds=taus))
            assert (terms.thresholds, terms.asked_thresholds) == (taus, taus), "full depth fits into the budget"


def test_in_camera_mode_the_next_image_is_a_deadline(bench):
    keeping = BudgetSettings(BudgetSource("camera"), None, TAUS, keep_period=True)
    bench.prepare(keeping)
    assert bench.policy.deadline_s is None, "no period is known yet"
    bench.camera(0.1)
    bench.prepare(keeping)
    assert bench.policy.deadline_s == pytest.approx(0.1)
    bench.prepare(BudgetSettings(BudgetSource("camera"), None, TAUS, deadline_s=0.04, keep_period=True))
    assert bench.policy.deadline_s == 0.04, "the earlier one counts"
    bench.prepare(BudgetSettings(BudgetSource("camera"), None, TAUS, keep_period=False))
    assert bench.policy.deadline_s is None
    bench.prepare(BudgetSettings(BudgetSource("rate"), None, TAUS, keep_period=True))
    assert bench.policy.deadline_s is None, "no camera, no period"


def test_a_camera_too_fast_for_the_first_exit_gives_a_deadline_of_several_periods(bench):
    bench.camera(0.02)  # the first exit takes longer
    bench.prepare(BudgetSettings(BudgetSource("camera"), None, TAUS, keep_period=True))
    periods = bench.budget.view().periods
    assert periods > 1
    assert bench.policy.deadline_s == pytest.approx(0.02 * periods)


def test_terms_is_what_the_frame_was_worked_on_with(bench):
    before = bench.prepare(mode="milliseconds", milliseconds=65)
    bench.frame(0.2)
    assert bench.policy.thrift > before.thrift
    assert bench.budget.terms == before, "not what its own time has led to"


def test_frames_over_the_deadline_are_counted(bench):
    settings = BudgetSettings(BudgetSource("milliseconds"), None, TAUS, deadline_s=0.065)
    bench.prepare(settings)
    bench.frame(0.06)
    bench.frame(0.06, beside_s=0.01)
    assert bench.figures["deadline_misses"] == "1"
    bench.prepare(THRESHOLDS)
    bench.frame(0.2)
    assert bench.figures["deadline_misses"] == "1", "without a budget there is no deadline"


def test_a_cut_is_told(bench):
    bench.prepare(BudgetSettings(BudgetSource("milliseconds", milliseconds=90), None, TAUS, deadline_s=0.04))
    assert bench.policy.should_exit(1, 0.0, 0.03)
    bench.frame(0.03, exit_index=1, scores=(0.0,))
    assert bench.budget.reason is ExitReason.DEADLINE
    bench.prepare(THRESHOLDS)
    assert bench.policy.should_exit(1, 0.9, 0.03)
    bench.frame(0.03, exit_index=1, scores=(0.9,))
    assert bench.budget.reason is ExitReason.QUALITY


def test_what_cannot_be_kept_is_said_in_plain_words(bench):
    bench.prepare(mode="milliseconds", milliseconds=20)
    assert bench.sentence == "the budget is 20 ms, the first exit takes 30 ms: always exit 1"
    assert bench.figures["budget_state"] == "INFEASIBLE"
    bench.prepare(mode="rate", rate_hz=40)
    assert bench.sentence == "40 Hz leave 25 ms, the first exit takes 30 ms: always exit 1"
    bench.prepare(mode="milliseconds", milliseconds=500)
    assert bench.sentence == "the budget is 500 ms, the last exit takes 100 ms: the thresholds decide"
    assert bench.figures["budget_state"] == "IDLE"
    bench.prepare(mode="milliseconds", milliseconds=50)
    assert bench.sentence == "the budget is 50 ms"


def test_mean_is_that_of_the_last_frames(bench):
    bench.prepare(mode="milliseconds", milliseconds=65)
    for seconds in [5.0, *[0.05, 0.07] * 50]:
        bench.frame(seconds)
    assert bench.figures["mean_ms"] == "60.0"


# ---- from the parameters


def settings_of(**changes):
    values = {parameter.name: parameter.default for parameter in TRACKER}
    return BudgetSettings.of(values | {name.replace("__", "."): value for name, value in changes.items()})


def test_settings_come_from_the_parameters():
    defaults = settings_of()
    assert defaults.source == BudgetSource("camera", 30.0, 33.0, 0.9)
    assert (defaults.fixed_exit, defaults.deadline_s) == (None, None)
    assert not defaults.keep_period
    changed = settings_of(
        exit__policy="fixed", exit__fixed=2, exit__tau_1=0.5, budget__mode="rate", budget__deadline_ms=40.0
    )
    assert (changed.fixed_exit, changed.thresholds[0], changed.deadline_s) == (2, 0.5, 0.04)


@pytest.mark.parametrize("name", [parameter.name for parameter in TRACKER if parameter.name.startswith("budget.")])
def test_every_value_that_a_parameter_allows_is_one_that_the_budget_takes(name, bench):
    parameter = next(parameter for parameter in TRACKER if parameter.name == name)
    allowed = parameter.choices or (parameter.minimum, parameter.maximum)
    for mode in ("camera", "rate", "milliseconds", "unlimited"):
        for value in (True, False) if isinstance(parameter.default, bool) else allowed:
            bench.camera(1e-3)
            bench.prepare(settings_of(**{"budget__mode": mode, name.replace(".", "__"): value}))
            bench.frame()
            assert math.isfinite(bench.budget.terms.budget_s)
