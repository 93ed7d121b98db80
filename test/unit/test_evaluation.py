"""Sequences, their hard variants, the measures, and the command `evaluate`."""

import json
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dytrack_ros.cli.evaluate import main, parser
from dytrack_ros.data.sequences import as_variant, load_sequence, load_sequences, read_truth
from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.execution import TrackerRecipe
from dytrack_ros.evaluation.plan import Budget, plan, policies
from dytrack_ros.evaluation.report import add_to_card, json_text
from dytrack_ros.evaluation.run import mean_over_sequences, run_sequence
from dytrack_ros.tracking import DyTracker


@pytest.fixture(scope="module")
def sequence_folder(tmp_path_factory):
    """Seven frames in which a 64 px square moves; it is absent in frame 3."""
    folder = tmp_path_factory.mktemp("sequences")
    images = folder / "square" / "img"
    images.mkdir(parents=True)
    lines = []
    for number in range(7):
        image = np.full((240, 320, 3), 60, np.uint8)
        x = 40 + 10 * number
        if number != 3:
            image[80:144, x : x + 64] = (10, 10, 220)
        cv2.imwrite(str(images / f"{number:05d}.png"), image)
        lines.append("nan,nan,nan,nan" if number == 3 else f"{x}.0\t80.0\t64.0\t64.0")
    (folder / "square" / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_sequences_are_read(sequence_folder):
    (sequence,) = load_sequences(sequence_folder)
    assert sequence.name == "square" and len(sequence) == 7
    assert np.isnan(sequence.truth[3]).all()
    assert sequence.truth[2].tolist() == [60, 80, 64, 64]
    assert sequence.image(2)[100, 61].tolist() == [10, 10, 220]


def test_variants(sequence_folder):
    sequence = load_sequence(sequence_folder / "square")
    skipped = as_variant(sequence, "skip3")
    assert [path.stem for path in skipped.frames] == ["00000", "00003", "00006"]
    small = as_variant(sequence, "small")
    assert small.scale == 0.5 and small.truth[0].tolist() == [20, 40, 32, 32]
    assert small.image(0).shape == (120, 160, 3)
    assert small.image(0)[56, 36].tolist() == [10, 10, 220], "picture and truth shrink together"
    both = as_variant(sequence, "skip3_small")
    assert len(both) == 3 and both.scale == 0.5
    with pytest.raises(ValueError, match="standard, skip3"):
        as_variant(sequence, "dark")


def test_bad_truth_is_reported_with_its_line(tmp_path):
    (tmp_path / "groundtruth.txt").write_text("1,2,3,4\n1,2,three,4\n")
    with pytest.raises(ValueError, match=r"groundtruth\.txt:2"):
        read_truth(tmp_path / "groundtruth.txt")
    (tmp_path / "groundtruth.txt").write_text("1,2,3,4\n")
    with pytest.raises(ValueError, match="0 images but 1 boxes"):
        load_sequence(tmp_path)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "groundtruth.txt").write_text("nan,nan,nan,nan\n")
    with pytest.raises(ValueError, match="first frame needs a box"):
        load_sequence(tmp_path)
    with pytest.raises(FileNotFoundError, match="NAME/groundtruth.txt"):
        load_sequences(tmp_path / "nothing")


def test_success_auc_of_known_overlaps():
    # IoU 1 is above 20 of 21 thresholds (not above 1 itself), 0.5 above 10 (0 to 0.45), 0 above none.
    assert metrics.success_auc(np.array([1.0])) == pytest.approx(20 / 21)
    assert metrics.success_auc(np.array([0.5])) == pytest.approx(10 / 21)
    assert metrics.success_auc(np.array([1.0, 0.0])) == pytest.approx(10 / 21)


def test_success_auc_against_a_plain_loop():
    rng = np.random.default_rng(0)
    predicted, truth = rng.uniform(1, 50, (200, 4)), rng.uniform(1, 50, (200, 4))
    ious = []
    for (ax, ay, aw, ah), (bx, by, bw, bh) in zip(predicted, truth, strict=True):
        width, height = min(ax + aw, bx + bw) - max(ax, bx), min(ay + ah, by + bh) - max(ay, by)
        both = max(width, 0) * max(height, 0)
        ious.append(both / (aw * ah + bw * bh - both))
    curve = [sum(iou > t * 0.05 for iou in ious) / 200 for t in range(21)]
    assert metrics.success_auc(metrics.overlaps(predicted, truth)) == pytest.approx(sum(curve) / 21, abs=1e-9)


def test_precision_counts_only_frames_with_a_target():
    truth = np.array([[0, 0, 40, 40], [np.nan] * 4, [0, 0, 40, 40]], float)
    predicted = np.array([[15, 0, 40, 40], [500, 500, 40, 40], [21, 0, 40, 40]], float)
    assert metrics.precision(predicted, truth) == 0.5
    assert metrics.normalised_precision(predicted, truth) == 0.0
    assert metrics.normalised_precision(predicted, truth + [[8, 0, 0, 0]]) == 0.5
    assert len(metrics.overlaps(predicted, truth)) == 2


def test_a_run_starts_from_the_truth_and_sums_up(sequence_folder, tiny_weights):
    tracker = DyTracker.from_pretrained(tiny_weights)
    tracker.set_policy(policies("2", 3, None)["exit 2"])
    run = run_sequence(tracker, load_sequence(sequence_folder / "square"))
    assert run.boxes.shape == (7, 4) and len(run.results) == 6
    assert run.boxes[0].tolist() == [40, 80, 64, 64]
    summary = run.summary()
    assert summary["exits"] == {2: 6}
    expected = metrics.success_auc(metrics.overlaps(run.boxes, run.sequence.truth))
    assert summary["success_auc"] == expected
    assert mean_over_sequences([summary, {**summary, "success_auc": 0.0}])["success_auc"] == expected / 2


def test_unknown_exits_are_refused():
    assert list(policies("1,adaptive", 3, [0.5, 0.5])) == ["exit 1", "adaptive"]
    with pytest.raises(ValueError, match="from 1 to 3"):
        policies("4", 3, None)
    with pytest.raises(ValueError, match="2 numbers"):
        policies("adaptive", 3, [0.5])


def planned(*options: str):
    runs = plan(parser().parse_args(["--data", "none", *options]), exit_count=3)
    return [(run.variant, run.stream_hz, run.policy_name) for run in runs], runs


def test_every_policy_runs_at_every_rate_on_every_variant():
    names, runs = planned("--exits", "1,random", "--stream", "offline", "30", "--variants", "standard", "skip3")
    assert names == [
        (variant, hz, policy)
        for variant in ("standard", "skip3") for hz in (None, 30.0) for policy in ("exit 1", "random")
    ]  # fmt: skip
    assert len({id(run.policy) for run in runs}) == len(runs), "what a policy learns in a run stays there"


def test_thresholds_may_trust_their_target():
    _, (plain,) = planned("--exits", "adaptive")
    assert not plain.policy.needs_comparison
    names, (trusting,) = planned("--exits", "adaptive", "--thresholds", "0.8", "0.1", "--trust", "0.2", "0.3")
    assert names == [("standard", None, "trusting")]
    assert trusting.policy.needs_comparison and trusting.policy.thresholds == (0.8, 0.1)
    assert (trusting.policy.trust.rate, trusting.policy.trust.impatience) == (0.2, 0.3)
    assert trusting.settings() != plain.settings(), "kept runs of the one are not those of the other"


def test_budgets_by_name():
    options = ["--exits", "none", "--budget-ms", "33.3", "camera", "--deadline-ms", "50"]
    names, runs = planned(*options, "--stream", "offline", "20")
    assert names == [
        ("standard", None, "budget 33.3 ms"), ("standard", 20, "budget 33.3 ms"), ("standard", 20, "budget camera"),
    ]  # fmt: skip
    assert [run.policy.budget_s for run in runs] == pytest.approx([0.0333, 0.0333, 0.9 * 0.05])
    assert all(run.policy.deadline_s == 0.05 for run in runs)
    _, (run,) = planned("--exits", "none", "--budget-ms", "camera", "--stream", "30")
    assert run.policy.deadline_s == pytest.approx(1 / 30), "the next image, as in the node"
    assert runs[2].budget.budget_ms == pytest.approx(45), "a period of the stream, less the headroom, as in the node"


def test_a_stream_too_fast_for_the_first_exit_has_a_budget_of_several_periods():
    args = parser().parse_args(["--data", "none", "--exits", "none", "--budget-ms", "camera", "--stream", "30"])
    (run,) = plan(args, exit_count=3, first_exit_s=0.061)
    assert run.budget.budget_ms == pytest.approx(3 * 0.9 * 1e3 / 30)
    assert run.budget.deadline_ms == pytest.approx(3 * 1e3 / 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--deadline-ms", "50"], "give --budget-ms"),
        (["--budget-ms", "camera"], "give --stream HZ"),
        (["--stream", "30", "--card", "card.json"], "add `offline`"),
        (["--exits", "none"], "needs --budget-ms"),
        (["--budget-ms", "0.001"], "budget_s is"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        planned(*options)


@pytest.mark.parametrize(
    "options", [["--stream", "0"], ["--stream", "fast"], ["--latency", "1"], ["--budget-ms", "-3"]]
)
def test_numbers_out_of_range_are_refused(options, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--data", "none", *options])
    assert options[1] in capsys.readouterr().err


def test_a_budget_is_compared_over_all_frames():
    results = [SimpleNamespace(seconds=seconds) for seconds in (0.01, 0.02, 0.03, 0.08)]
    kept = Budget(30.0, 30.0).compare(results)
    assert kept["budget_ms"] == 30 and kept["deadline_ms"] == 30
    assert kept["mean_ms"] == pytest.approx(35) and kept["p95_ms"] == pytest.approx(72.5)
    assert kept["over_deadline"] == 0.25, "exactly on time is in time"
    assert Budget(30.0).compare(results)["over_deadline"] is None


def test_reports_are_json_even_where_nothing_was_measured():
    assert json.loads(json_text({"a": [float("nan"), 1.5], "b": {"c": float("nan")}})) == {
        "a": [None, 1.5],
        "b": {"c": None},
    }


def test_cards_take_accuracy_and_no_times(tmp_path):
    card = tmp_path / "card.json"
    card.write_text('{"model": "m"}')
    errors = {1: 0.04321, 2: float("nan")}
    entry = {
        "variant": "standard", "policy": "adaptive", "mean": {"success_auc": 0.612345, "mean_ms": 12.0, "exits": {1: 3, 2: 1}},
        "by_exit": {k: {"reliability": {"calibration_error": error}} for k, error in errors.items()},
    }  # fmt: skip
    add_to_card(card, policies("adaptive", 3, [0.8, 0.7])["adaptive"], entry)
    assert json.loads(card.read_text())["evaluation"] == {
        "standard": {
            "adaptive": {
                "success_auc": 0.6123, "calibration_error": {"1": 0.0432}, "init_correction": 0.5,
                    "thresholds": [0.8, 0.7], "exits": {"1": 3, "2": 1},
            }
        }
    }  # fmt: skip


def test_the_evaluate_command_end_to_end(sequence_folder, tiny_weights, tmp_path):
    command = [sys.executable, "-m", "dytrack_ros.cli.evaluate", "--data", str(sequence_folder)]
    command += ["--model", str(tiny_weights), "--exits", "1,adaptive", "--variants", "standard", "skip3"]
    done = subprocess.run([*command, "--out", str(tmp_path / "report.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert [(run["variant"], run["policy"]) for run in runs] == [
        ("standard", "exit 1"), ("standard", "adaptive"), ("skip3", "exit 1"), ("skip3", "adaptive"),
    ]  # fmt: skip
    assert runs[0]["mean"]["exits"] == {"1": 6}
    (traced,) = runs[0]["sequences"]
    assert len(traced["boxes"]) == 7 and [len(scores) for scores in traced["exit_scores"]] == [1] * 6
    wrong = subprocess.run([*command[:4], str(tmp_path)], capture_output=True, text=True)
    assert wrong.returncode == 2 and "no sequences" in wrong.stderr


def test_the_evaluate_command_in_a_stream_and_with_a_budget(sequence_folder, tiny_weights, tmp_path, capsys):
    start = tmp_path / "sequences" / "start"
    start.mkdir(parents=True)
    truth = (sequence_folder / "square" / "groundtruth.txt").read_text().splitlines()
    (start / "groundtruth.txt").write_text("\n".join(truth[:3]))
    for image in sorted((sequence_folder / "square" / "img").iterdir())[:3]:
        (start / image.name).symlink_to(image)
    card = tmp_path / "card.json"
    card.write_text("{}")
    command = ["--data", str(start.parent), "--model", str(tiny_weights), "--exits", "2", "--card", str(card)]
    command += ["--budget-ms", "camera", "50000", "--deadline-ms", "50000", "--stream", "offline", "0.02"]
    assert main([*command, "--latency", "0.9", "--out", str(tmp_path / "report.json")]) == 0
    runs = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert [(run["stream_hz"], run["policy"]) for run in runs] == [
        (None, "exit 2"), (None, "budget 50000 ms"), (0.02, "exit 2"), (0.02, "budget camera"), (0.02, "budget 50000 ms"),
    ]  # fmt: skip
    offline, _, streamed, *_ = runs
    assert streamed["permitted_latency"] == 0.9 and offline["permitted_latency"] is None
    assert streamed["mean"]["skipped"] == 0 and "skipped" not in offline["mean"]
    assert streamed["mean"]["success_auc"] == offline["mean"]["success_auc"], "45 s a frame are enough on any machine"
    assert streamed["sequences"][0]["frame_numbers"] == [1, 2]
    assert "budget" not in streamed and runs[4]["budget"]["over_deadline"] == 0
    assert runs[4]["budget"]["budget_ms"] == 50000 and runs[4]["budget"]["mean_ms"] > 0
    assert list(json.loads(card.read_text())["evaluation"]["standard"]) == ["exit 2"], "neither streams nor budgets"
    printed = capsys.readouterr().out
    assert "0.02 Hz budget camera" in printed and "0.00% over 50000 ms" in printed


def test_the_init_correction_is_the_trackers_and_a_wrong_one_is_refused(tiny_weights):
    args = parser().parse_args(["--data", "none", "--engine", "torch", "--init-correction", "0.25"])
    assert TrackerRecipe.of(args, tiny_weights).make().init_correction == 0.25
    args.init_correction = 1.5
    with pytest.raises(ValueError, match=r"1\.5 must lie in \[0, 1\]"):
        TrackerRecipe.of(args, tiny_weights)
