"""Sequences, their hard variants, the measures, the run matrix and the command `dytrack evaluate`."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from square_sequences import write_sequences

from dytrack_ros.benchmark import peers
from dytrack_ros.cli.evaluate import main, parser
from dytrack_ros.cli.options import make_tracker
from dytrack_ros.data.sequences import Sequence, as_variant, load_sequence, load_sequences, read_truth
from dytrack_ros.evaluation import analysis, metrics
from dytrack_ros.evaluation.analysis import success_curve
from dytrack_ros.evaluation.report import absent_note, add_to_card, json_text
from dytrack_ros.evaluation.run import SequenceRun, mean_over_sequences, run_sequence
from dytrack_ros.evaluation.run_matrix import Budget, RunSpec, policies, run_matrix
from dytrack_ros.policies import RandomExit
from dytrack_ros.tracking import DyTracker, TrackerConfig, TrackResult, TrackState


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven frames in which a square moves; it is absent in frame 3."""
    return write_sequences(tmp_path_factory.mktemp("sequences"), {"square": 10}, 7, {("square", 3)})


def test_sequences_and_their_variants(folder):
    (sequence,) = load_sequences(folder)
    assert sequence.name == "square" and len(sequence) == 7
    assert np.isnan(sequence.truth[3]).all() and sequence.truth[2].tolist() == [50, 40, 32, 32]
    assert sequence.image(2)[60, 51].tolist() == [10, 10, 220]
    skipped = as_variant(sequence, "skip3")
    assert [path.stem for path in skipped.frames] == ["00000", "00003", "00006"]
    large = replace(sequence, truth=sequence.truth * [1, 1, 2, 2])
    both = as_variant(large, "skip3_small")
    assert len(both) == 3 and both.scale == 0.5 and both.truth[0].tolist() == [15, 20, 32, 32]
    assert both.image(0).shape == (60, 80, 3)
    assert both.image(0)[28, 18].tolist() == [10, 10, 220], "image and truth shrink together"
    with pytest.raises(ValueError, match="standard, skip3"):
        as_variant(sequence, "dark")


def test_bad_truth_is_reported_with_its_line(tmp_path):
    (tmp_path / "groundtruth.txt").write_text("1,2,3,4\n1,2,three,4\n")
    with pytest.raises(ValueError, match=r"groundtruth\.txt:2"):
        read_truth(tmp_path / "groundtruth.txt")
    (tmp_path / "groundtruth.txt").write_text("1,2,3,4\n")
    with pytest.raises(FileNotFoundError, match="has no images"):
        load_sequence(tmp_path)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "groundtruth.txt").write_text("nan,nan,nan,nan\n")
    with pytest.raises(ValueError, match="first frame needs a box"):
        load_sequence(tmp_path)
    with pytest.raises(FileNotFoundError, match="NAME/groundtruth.txt"):
        load_sequences(tmp_path / "nothing")


def test_the_interval_of_a_mean_narrows_with_the_number_of_sequences():
    random = np.random.default_rng(0)
    few, many = (metrics.mean_interval(random.normal(0.6, 0.2, count)) for count in (10, 160))
    for low, high in (few, many):
        assert low < 0.6 < high
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(4, rel=0.4), "as the square root"
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * 0.2 / 160**0.5, rel=0.15), "as the normal distribution has it"
    assert metrics.mean_interval([0.5, float("nan")]) == (0.5, 0.5)
    assert np.isnan(metrics.mean_interval([float("nan")])).all()


def test_a_run_starts_from_the_truth_and_sums_up(folder, tiny_weights):
    tracker = DyTracker.from_pretrained(tiny_weights, engine="torch", policy=policies("2", 3, None)["exit 2"])
    run = run_sequence(tracker, load_sequence(folder / "square"))
    assert run.boxes.shape == (7, 4) and len(run.results) == 6
    assert run.boxes[0].tolist() == [30, 40, 32, 32]
    summary = run.summary()
    assert summary["exits"] == {2: 6}
    expected = metrics.success_auc(metrics.overlaps(run.boxes, run.sequence.truth))
    assert summary["success_auc"] == expected
    lost = {**summary, "success_auc": 0.0}
    mean = mean_over_sequences([summary, {**lost, "name": "other"}])
    assert mean["success_auc"] == expected / 2 and mean["success_auc_interval"] == [0.0, expected]
    starts = mean_over_sequences([summary, lost, lost, {**lost, "name": "other"}])
    assert starts["sequences"] == 2 and starts["exits"] == {2: 24}
    assert starts["success_auc"] == pytest.approx(expected / 6), "a sequence counts once, however many starts it has"


def test_starts_are_spread_over_a_sequence_and_begin_with_a_box(folder):
    sequence = load_sequence(folder / "square")
    truth = sequence.start_box + np.arange(7.0)[:, None]
    truth[2] = np.nan
    parts = replace(sequence, truth=truth).starts(3, 3)
    assert [part.frames for part in parts] == [sequence.frames[n : n + 3] for n in (0, 3, 4)]
    truth = np.nan_to_num(truth)
    assert [np.nan_to_num(part.truth).tolist() for part in parts] == [truth[n : n + 3].tolist() for n in (0, 3, 4)]
    assert [len(part) for part in sequence.starts(3, 100)] == [7], "too short for a second start"
    assert [part.frames[0] for part in sequence.starts(2, 6)] == list(sequence.frames[:2])


def test_unknown_exits_are_refused():
    assert list(policies("1,adaptive", 3, [0.5, 0.5])) == ["exit 1", "adaptive"]
    with pytest.raises(ValueError, match="from 1 to 3"):
        policies("4", 3, None)
    with pytest.raises(ValueError, match="2 numbers"):
        policies("adaptive", 3, [0.5])


def planned(*options: str, **given):
    runs = run_matrix(parser().parse_args(["--sequences", "none", *options]), exit_count=3, **given)
    return [(run.variant, run.stream_hz, run.policy_name) for run in runs], runs


def test_every_policy_runs_at_every_rate_on_every_variant():
    names, runs = planned(
        "--exits", "1,random", "--stream", "30", "--variants", "standard", "skip3", peers=["NanoTrack"]
    )
    assert names == [
        (variant, hz, policy)
        for variant in ("standard", "skip3") for hz in (None, 30.0) for policy in ("exit 1", "random", "NanoTrack")
    ]  # fmt: skip
    assert [run.is_peer for run in runs[:3]] == [False, False, True]
    own = [run.policy for run in runs if not run.is_peer]
    assert len(set(map(id, own))) == len(own), "what a policy learns in a run stays there"


def test_budgets_by_name():
    options = ["--exits", "none", "--budget-ms", "33.3", "camera", "--deadline-ms", "50"]
    names, runs = planned(*options, "--stream", "20")
    assert names == [
        ("standard", None, "budget 33.3 ms"), ("standard", 20, "budget 33.3 ms"), ("standard", 20, "budget camera"),
    ]  # fmt: skip
    assert [run.policy.budget_s for run in runs] == pytest.approx([0.0333, 0.0333, 0.9 * 0.05])
    assert all(run.policy.deadline_s == 0.05 for run in runs)
    _, (run,) = planned("--exits", "none", "--budget-ms", "camera", "--stream", "30", "--no-offline")
    assert run.policy.deadline_s is None, "as in the node"
    assert runs[2].budget.budget_ms == pytest.approx(45), "a period of the stream, less the headroom, as in the node"


def test_a_stream_too_fast_for_the_first_exit_has_a_budget_of_several_periods():
    _, (run,) = planned("--exits", "none", "--budget-ms", "camera", "--stream", "30", first_exit_s=0.061)
    assert run.budget.budget_ms == pytest.approx(3 * 0.9 * 1e3 / 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--deadline-ms", "50"], "give --budget-ms"),
        (["--no-offline"], "give --stream HZ"),
        (["--budget-ms", "camera"], "give --stream HZ"),
        (["--stream", "30", "--no-offline", "--card", "card.json"], "leave out --no-offline"),
        (["--exits", "none"], "needs --budget-ms"),
        (["--budget-ms", "0.001"], "budget_s is"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        planned(*options)


def test_a_budget_is_compared_over_all_frames():
    results = [SimpleNamespace(seconds=seconds) for seconds in (0.01, 0.02, 0.03, 0.08)]
    compared = Budget(30.0, 30.0).compare(results)
    assert compared["budget_ms"] == 30 and compared["deadline_ms"] == 30
    assert compared["mean_ms"] == pytest.approx(35) and compared["p95_ms"] == pytest.approx(72.5)
    assert compared["over_deadline"] == 0.25, "exactly on time is in time"
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
        "variant": "standard", "policy": "adaptive",
        "mean": {"success_auc": 0.612345, "mean_ms": 12.0, "exits": {1: 3, 2: 1}},
        "by_exit": {k: {"reliability": {"calibration_error": error}} for k, error in errors.items()},
    }  # fmt: skip
    add_to_card(card, policies("adaptive", 3, [0.8, 0.7])["adaptive"], entry, TrackerConfig(motion_prior=2.0))
    assert json.loads(card.read_text())["evaluation"] == {
        "standard": {
            "adaptive": {
                "success_auc": 0.6123, "calibration_error": {"1": 0.0432},
                    "init_correction": 0.5, "entering_growth": 2.0, "motion_prior": 2.0, "size_damping": 1.0,
                    "thresholds": [0.8, 0.7], "exits": {"1": 3, "2": 1},
            }
        }
    }  # fmt: skip


def evaluate(weights, options, out=None):
    """Run the command with these options; ``out`` takes the report."""
    written = ["--out", str(out)] if out else []
    return main([*options.split(), "--model", str(weights), "--engine", "torch", "--threads", "1", *written])


def test_several_sets_with_names_and_intervals(folder, tiny_weights, tmp_path, capsys):
    other = write_sequences(tmp_path / "other", {"slow": 2, "fast": 12})
    options = f"--sequences {folder} hard={other} --exits 1,adaptive --first 3 --variants standard skip3"
    assert evaluate(tiny_weights, options, out=tmp_path / "report.json") == 0
    printed = capsys.readouterr().out
    first, second = json.loads((tmp_path / "report.json").read_text())["sets"]
    assert (first["name"], second["name"], second["dataset"]) == (folder.name, "hard", "plain")
    assert [(run["variant"], run["policy"]) for run in second["runs"]] == [
        ("standard", "exit 1"), ("standard", "adaptive"), ("skip3", "exit 1"), ("skip3", "adaptive"),
    ]  # fmt: skip
    assert [run["mean"]["sequences"] for run in (first["runs"][0], second["runs"][0])] == [1, 2]
    (traced,) = first["runs"][0]["sequences"]
    assert len(traced["boxes"]) == 3 and [len(scores) for scores in traced["exit_scores"]] == [1] * 2
    mean = second["runs"][0]["mean"]
    low, high = mean["success_auc_interval"]
    assert low <= mean["success_auc"] <= high and mean["exits"] == {"1": 4}
    assert f"{mean['success_auc']:.3f} ({low:.3f}-{high:.3f})" in printed, "the sets side by side"
    assert f"{folder.name} (1)" in printed and "hard (2)" in printed

    assert evaluate(tiny_weights, f"--sequences {other} --exits 1 --first 3 --starts 2", out=tmp_path / "starts") == 0
    (run,) = json.loads((tmp_path / "starts").read_text())["sets"][0]["runs"]
    assert (run["mean"]["sequences"], len(run["sequences"])) == (2, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--sequences nowhere", "no sequences in nowhere"),
        ("--sequences {folder} {folder}", "must differ"),
        ("--sequences {folder} --dataset otb", "expected NAME/"),
        ("--sequences {folder} --first 2 --card card.json", "whole sequences only"),
        ("--sequences {folder} --starts 2", "--starts 2 needs --first N"),
        ("--sequences {folder} --nanotrack no.onnx no.onnx", "no file no.onnx"),
    ],
)
def test_what_cannot_be_evaluated_is_said(folder, tiny_weights, options, message, capsys):
    assert evaluate(tiny_weights, options.format(folder=folder)) == 2
    assert message in capsys.readouterr().err


class OpenCVStandIn:
    """A tracker of OpenCV that moves 12 px to the right with every frame and is lost at the third."""

    def init(self, image, box):
        assert all(isinstance(value, int) for value in box)
        self.box, self.frames = box, 0

    def update(self, image):
        self.frames += 1
        x, y, w, h = self.box
        return self.frames < 3, (x + 12 * self.frames, y, w, h)


def test_a_peer_runs_in_the_same_evaluation(tiny_weights, tmp_path, monkeypatch, capsys):
    folder = write_sequences(tmp_path / "sequences", {"fast": 12})
    monkeypatch.setattr(peers.Peer, "create", lambda self: OpenCVStandIn())
    monkeypatch.setattr(peers.cv2, "TrackerNano", object, raising=False)
    options = f"--sequences {folder} --exits 1 --stream 0.02 --nanotrack {__file__} {__file__}"
    assert evaluate(tiny_weights, options, out=tmp_path / "report.json") == 0
    (each,) = json.loads((tmp_path / "report.json").read_text())["sets"]
    assert [(run["stream_hz"], run["policy"], run["is_peer"]) for run in each["runs"]] == [
        (None, "exit 1", False), (None, "NanoTrack", True), (0.02, "exit 1", False), (0.02, "NanoTrack", True),
    ]  # fmt: skip
    offline, streamed = each["runs"][1], each["runs"][3]
    assert [box[0] for box in offline["sequences"][0]["boxes"]] == [30, 42, 54, 54], "a lost target keeps its box"
    assert [box[0] for box in streamed["sequences"][0]["boxes"]] == [30, 30, 42, 54], "a frame late, as sigma is 0"
    assert offline["mean"]["mean_score"] is None and offline["mean"]["success_auc"] > 0.6
    assert "NanoTrack" in capsys.readouterr().out


def test_a_stream_beside_offline_and_with_a_budget(folder, tiny_weights, tmp_path, capsys):
    card = tmp_path / "card.json"
    card.write_text("{}")
    start = write_sequences(tmp_path / "sequences", {"start": 10}, 3)
    options = f"--sequences {start} --exits 2 --card {card} --stream 0.02 --latency 0.9"
    options += " --budget-ms camera 50000 --deadline-ms 50000"
    assert evaluate(tiny_weights, options, out=tmp_path / "report.json") == 0
    runs = json.loads((tmp_path / "report.json").read_text())["sets"][0]["runs"]
    assert [(run["stream_hz"], run["policy"]) for run in runs] == [
        (None, "exit 2"), (None, "budget 50000 ms"), (0.02, "exit 2"), (0.02, "budget camera"),
        (0.02, "budget 50000 ms"),
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


def test_corrections_are_the_trackers(tiny_weights):
    options = (
        "--sequences none --engine torch --init-correction 0.25 --motion-prior 2 --size-damping 0 --entering-growth inf"
    )
    config = make_tracker(parser().parse_args(options.split()), tiny_weights).config
    assert config == TrackerConfig(init_correction=0.25, motion_prior=2.0, size_damping=0.0, entering_growth=math.inf)


def test_a_set_without_truth_gives_boxes_only(tiny_weights, tmp_path, capsys):
    sequence = tmp_path / "got10k" / "test" / "GOT-10k_Test_000001"
    sequence.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(sequence / f"{number + 1:08d}.png"), np.full((60, 80, 3), 40 * number, np.uint8))
    (sequence.parent / "list.txt").write_text(f"{sequence.name}\n")
    (sequence / "groundtruth.txt").write_text("10.0,12.0,20.0,16.0\n")
    options = f"--sequences {tmp_path / 'got10k'} --exits 1"
    assert evaluate(tiny_weights, options, out=tmp_path / "report.json") == 0
    (run,) = json.loads((tmp_path / "report.json").read_text())["sets"][0]["runs"]
    assert run["mean"]["success_auc"] is None, "the first box, which was given, is no result"
    assert len(run["sequences"][0]["boxes"]) == 3 and run["mean"]["exits"] == {"1": 2}
    assert evaluate(tiny_weights, f"{options} --report {tmp_path / 'report'}", out=tmp_path / "report.json") == 2
    assert "only got10k_test's server has it" in capsys.readouterr().err


def test_random_exits_are_seeded_by_the_sequence():
    planned = RunSpec("standard", None, "random", RandomExit())
    first, second = (planned.policy_for(Sequence(name, (), np.zeros((0, 4)))) for name in ("a", "b"))
    again = planned.policy_for(Sequence("a", (), np.zeros((0, 4))))

    def drawn(policy):
        return [policy.should_exit(1, 0.5, 0.0) for _ in range(50)]

    draws = drawn(first)
    assert draws == drawn(again) != drawn(second)


# --- breakdown of runs ------------------------------------------------------------------------------------------------


def overlapping(ious) -> np.ndarray:
    """Boxes with these IoUs with (0, 0, 100, 10)."""
    return np.array([[0, 0, 100 * iou, 10] for iou in ious])


def made_run(name: str, ious, exits, attributes=(), judged: bool = True) -> SequenceRun:
    """A run whose boxes after the first have these IoUs, NaN where there is no target."""
    truth = np.tile([0, 0, 100, 10.0], (len(ious) + 1, 1))
    truth[1:][np.isnan(ious)] = np.nan
    sequence = Sequence(name, (None,) * len(truth), truth, attributes=attributes, is_judged=judged)
    boxes = overlapping([1.0, *np.nan_to_num(ious)])
    results = tuple(
        TrackResult(
            exit_index=k,
            exit_scores=(0.5,) * k,
            stage_seconds=(0.01,) * k,
            seconds=0.01 * k,
            box=tuple(box),
            score=0.1 * k,
            state=TrackState.TRACKING,
        )
        for box, k in zip(boxes[1:], exits, strict=True)
    )
    return SequenceRun(sequence, boxes, results, 0.5)


RUNS = [made_run("a", [0.9, 0.6, np.nan], [1, 2, 3], ("Blur", "Dark")), made_run("b", [0.3], [3], ("Dark",))]


def test_by_attribute_and_over_all():
    summaries = [run.summary() for run in RUNS]
    assert analysis.pooled(RUNS) == pytest.approx({"ao": 0.6, "sr50": 2 / 3, "sr75": 1 / 3})
    assert summaries[0]["ao"] == pytest.approx(0.75) and summaries[0]["mean_iou"] == pytest.approx(2.5 / 3)
    aucs = [summary["success_auc"] for summary in summaries]
    assert analysis.missed_where_absent(summaries)["success_auc"] == pytest.approx((0.75 * aucs[0] + aucs[1]) / 2)
    found = analysis.by_attribute(summaries)
    assert {name: values["sequences"] for name, values in found.items()} == {"Blur": 1, "Dark": 2}
    assert found["Blur"]["ao"] == pytest.approx(0.75) and found["Blur"]["sr75"] == 0.5
    assert found["Dark"]["success_auc"] == pytest.approx(np.mean([s["success_auc"] for s in summaries]))
    assert found["Dark"]["exits"] == {1: 1, 2: 1, 3: 2}


def test_by_exit():
    found = analysis.by_exit(RUNS)
    assert {k: (values["share"], values["frames"]) for k, values in found.items()} == {
        1: (0.25, 1), 2: (0.25, 1), 3: (0.5, 1),
    }  # fmt: skip
    assert [values["ao"] for values in found.values()] == pytest.approx([0.9, 0.6, 0.3])
    assert found[3]["mean_score"] == pytest.approx(0.3)


def test_success_curve_is_a_mean_over_sequences_with_a_target():
    unjudged = made_run("c", [0.9], [1], judged=False)
    assert success_curve([*RUNS, unjudged]) == success_curve(RUNS) and np.isnan(success_curve([unjudged])).all()
    aucs = [run.summary()["success_auc"] for run in RUNS]
    assert np.mean(success_curve(RUNS)) == pytest.approx(np.mean(aucs))


def test_toolkits_that_count_absence_as_a_miss_have_a_note():
    missed = analysis.missed_where_absent([run.summary() for run in RUNS])
    assert f"(missed where absent): AUC  {missed['success_auc']:.3f}, P " in absent_note("lasot", missed)
