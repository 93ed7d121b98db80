"""The choice among the shipped models: by made-up costs, and with the costs of this machine."""

import json
import shutil

import pytest

from dytrack_ros.model import weight_files
from dytrack_ros.policies import ExitCosts
from dytrack_ros.policies.calibration import Calibration, ExitMix, calibration_file
from dytrack_ros.policies.model_choice import choose_model, expectation
from dytrack_ros.policies.thresholds import ThresholdFamily
from dytrack_ros.tracking import DyTracker, automatic_model
from dytrack_ros.utils import file_sha256

DEEP, MIDDLE, FIRST = (0.0, 0.0, 1.0), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0)


def calibration(*ious, asked=1, sha=""):
    """IoUs at full depth, half of the frames at exits 1 and 2, all at exit 1; ``asked`` is the default thresholds'."""
    mixes = [ExitMix(shares, iou) for shares, iou in zip((DEEP, MIDDLE, FIRST), ious, strict=True)]
    return Calibration(sha, ThresholdFamily.default(), thresholds=(0.7, 0.7), asked_mix=mixes[asked], mixes=mixes)


LARGE, SMALL = calibration(0.70, 0.68, 0.60), calibration(0.64, 0.63, 0.58)


def models(large_ms, small_ms):
    return {
        "large": (LARGE, ExitCosts([each * 1e-3 for each in large_ms], 1e-3)),
        "small": (SMALL, ExitCosts([each * 1e-3 for each in small_ms], 1e-3)),
    }


@pytest.mark.parametrize(
    ("large_ms", "small_ms", "budget_ms", "deadline_ms", "chosen"),
    [
        ((9, 10, 10), (4, 5, 5), 30, None, "large"),  # both at their thresholds
        ((18, 20, 20), (4, 5, 5), 20, None, "small"),  # 0.60 against 0.63
        ((18, 20, 20), (14, 15, 15), 20, None, "large"),  # 0.60 against 0.58, each at exit 1
        ((18, 20, 20), (14, 15, 15), 30, 33, "small"),  # the deadline keeps `large` at exit 1: 0.60 against 0.63
        ((50, 50, 50), (14, 15, 15), 30, 33, "small"),  # only `small` answers in time
        ((50, 50, 50), (41, 15, 15), 30, 33, "small"),  # none does: the fastest
        ((39, 50, 50), (41, 15, 15), 30, 33, "large"),
        ((500, 500, 500), (4, 5, 5), None, None, "large"),  # no limit: the most accurate
    ],
)
def test_each_model_is_chosen_where_it_is_best(large_ms, small_ms, budget_ms, deadline_ms, chosen):
    limits = [None if each is None else each * 1e-3 for each in (budget_ms, deadline_ms)]
    choice = choose_model(models(large_ms, small_ms), *limits)
    assert choice.name == chosen
    assert ("large: " in choice.reason) == (chosen == "small"), "the reason names the other model"


def test_the_expectation_is_that_of_the_thresholds_and_never_more_than_the_budget_allows():
    costs = ExitCosts((0.01, 0.01, 0.01), 0.001)
    assert expectation(LARGE, costs, None) == pytest.approx((0.68, 0.016)), "full depth is not asked for"
    assert expectation(calibration(0.70, 0.68, 0.60, asked=0), costs, None) == pytest.approx((0.70, 0.031))
    assert expectation(LARGE, costs, 0.015) == pytest.approx((0.60, 0.011))
    assert expectation(LARGE, costs, None, 0.02) == pytest.approx((0.60, 0.011)), "exit 2 ends after the deadline"
    assert expectation(LARGE, costs, 0.0109) is None
    assert expectation(LARGE, costs, None, 0.0109) is None


def test_equal_models_are_told_apart_by_their_time():
    slow, fast = ExitCosts((0.02, 0.02, 0.02), 0.001), ExitCosts((0.01, 0.01, 0.01), 0.001)
    assert choose_model({"slow": (LARGE, slow), "fast": (LARGE, fast)}, None).name == "fast"


# --- on this machine --------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(tiny_weights, lively_weights, tmp_path, monkeypatch):
    """Two shipped models; `good` has the higher expected IoU. Returns the names of the models loaded so far."""
    monkeypatch.setattr(weight_files, "SHIPPED_FOLDER", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, best, source in (("good", 0.7, tiny_weights), ("poor", 0.6, lively_weights)):
        weights = shutil.copy(source, tmp_path / f"{name}.safetensors")
        calibration(best, best, best, sha=file_sha256(weights)).save(calibration_file(weights))
    loads = []
    load = DyTracker.from_pretrained.__func__

    def counted(cls, weights, **options):
        loads.append(weights.stem)
        return load(cls, weights, **options)

    monkeypatch.setattr(DyTracker, "from_pretrained", classmethod(counted))
    return loads


def choose(**options):
    return automatic_model.choose_automatically(None, engine="torch", device="cpu", **options)


def test_models_are_measured_once_for_each_setting_of_the_engine(shipped, tmp_path, caplog, monkeypatch):
    first = choose(threads=1)
    assert first.name == "good" and "poor" in first.reason
    assert choose(threads=1) == first and shipped == ["good", "poor"], "the second start reads the cache"
    choose(threads=2)
    assert shipped == ["good", "poor"] * 2

    for file in tmp_path.glob("cache/dytrack_ros/costs/*/exit_costs.json"):
        file.write_text("{}")
    assert choose(threads=1).name == "good" and shipped == ["good", "poor"] * 3, "damaged costs are measured again"
    assert "holds no exit costs" in caplog.text

    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    choose(threads=1)
    assert shipped == ["good", "poor"] * 4, "OpenVINO computes otherwise with a limit"


def test_costs_of_a_busy_machine_are_measured_again_by_the_next_start(shipped):
    choice = choose(threads=1)
    as_before, faster = (ExitCosts((part * choice.first_exit_s - 1e-6,), 1e-6) for part in (0.9, 0.5))
    assert not automatic_model.forget_if_busy(choice, as_before)
    choose(threads=1)
    assert shipped == ["good", "poor"]
    assert automatic_model.forget_if_busy(choice, faster)
    choose(threads=1)
    assert shipped == ["good", "poor"] * 2


def test_a_model_that_cannot_be_compared_is_left_out_with_the_reason(shipped, tmp_path):
    said = []
    file = calibration_file(tmp_path / "good.safetensors")
    without = json.loads(file.read_text())
    del without["thresholds_mix"]
    file.write_text(json.dumps(without))
    assert choose(threads=1, on_failure=said.append).name == "poor"
    assert len(said) == 1 and "good" in said[0] and "dytrack calibrate" in said[0]


def test_an_end_of_the_process_ends_the_choice(shipped, tmp_path):
    def stop(sentence):
        raise InterruptedError(sentence)

    calibration_file(tmp_path / "good.safetensors").unlink()
    with pytest.raises(InterruptedError, match="good"):
        choose(on_failure=stop)
