"""Evaluation of many sequences: cached results, several processes, difficulty, parts of the init box, submissions."""

import json
import math
import re
from zipfile import ZipFile

import cv2
import numpy as np
import pytest
from square_sequences import write_sequences

from dytrack_ros.cli import evaluate as cli
from dytrack_ros.data.sequences import Sequence, load_sequences
from dytrack_ros.evaluation import analysis, execution, metrics, report
from dytrack_ros.evaluation.analysis import AllExitsRun, run_all_exits
from dytrack_ros.evaluation.execution import Work, run_here
from dytrack_ros.evaluation.result_cache import ResultCache
from dytrack_ros.evaluation.run import SequenceRun, run_sequence
from dytrack_ros.evaluation.run_matrix import AllExitsSpec, Budget, RunSpec, all_exits_specs, policies
from dytrack_ros.evaluation.streaming import run_stream
from dytrack_ros.policies import RandomExit
from dytrack_ros.tracking import DyTracker, TrackResult, TrackState


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three sequences of four frames in which a square moves; absent in one of them."""
    root = tmp_path_factory.mktemp("sequences")
    return write_sequences(root, {"slow": 2, "fast": 12, "still": 0}, absent={("slow", 2)})


@pytest.fixture(scope="module")
def tracker(tiny_weights):
    return DyTracker.from_pretrained(tiny_weights, engine="torch", threads=1)


def without_times(report: dict) -> dict:
    """A report less what differs from run to run."""
    return json.loads(
        json.dumps(report),
        object_hook=lambda part: {k: v for k, v in part.items() if k not in ("mean_ms", "p95_ms", "jobs")},
    )


def evaluate(folder, tiny_weights, tmp_path, *options: str, exits: str = "1,random") -> dict:
    """The report's only set."""
    command = ["--sequences", str(folder), "--model", str(tiny_weights), "--engine", "torch", "--threads", "1"]
    assert cli.main([*command, "--exits", exits, "--out", str(tmp_path / "report.json"), *options]) == 0
    (found,) = json.loads((tmp_path / "report.json").read_text())["sets"]
    return found


def test_processes_give_the_same_as_one_and_results_are_cached(folder, tiny_weights, tmp_path, monkeypatch, capsys):
    here = evaluate(folder, tiny_weights, tmp_path, "--levels")
    results = tmp_path / "results"
    options = ("--levels", "--jobs", "2", "--results", str(results))
    assert without_times(evaluate(folder, tiny_weights, tmp_path, *options)) == without_times(here)
    folders = sorted(path.name.rpartition("-")[0] for path in results.iterdir())
    assert folders == ["standard_all_exits", "standard_exit_1", "standard_random"]
    assert [len(list(path.glob("*.json.gz"))) for path in results.iterdir()] == [3, 3, 3]

    (cache,) = results.glob("standard_exit_1-*/fast.json.gz")
    cache.write_bytes(cache.read_bytes()[:100])
    (cache.parent / "slow.json.gz").unlink()
    performed, perform = [], execution.perform
    monkeypatch.setattr(execution, "perform", lambda *a: performed.append((a[1].label, a[2].name)) or perform(*a))
    again = evaluate(folder, tiny_weights, tmp_path, "--levels", "--results", str(results))
    assert performed == [("standard, exit 1", "fast"), ("standard, exit 1", "slow")], "damaged and missing results only"
    assert without_times(again) == without_times(here)
    performed.clear()
    evaluate(folder, tiny_weights, tmp_path, "--results", str(results), "--first", "2", exits="1")
    assert len(performed) == 3, "other settings, other results"

    entry = again["runs"][0]
    assert sum(level["frames"] for level in entry["by_level"].values()) == 8, "no start, and not where it is absent"
    assert again["difficulty"][0]["sequences"][1]["exit_ious"][2] == [None] * 3
    printed = capsys.readouterr().out
    assert "plain, 3 sequences" in printed and "AUC by difficulty, standard" in printed


def test_a_cached_run_is_what_was_run(folder, tracker, tmp_path):
    sequence = load_sequences(folder)[0]
    cache = ResultCache(tmp_path, {"weights": "a"})
    offline = RunSpec("standard", None, "adaptive", policies("adaptive", 3, [0.5, 0.5])["adaptive"])
    tracker.set_policy(offline.policy)
    clock = iter(np.arange(100) / 4)
    streamed = RunSpec("standard", 2.0, "adaptive", offline.policy)
    runs = {
        offline: run_sequence(tracker, sequence),
        streamed: run_stream(tracker, sequence, 2.0, 0.25, clock=lambda: next(clock)),
    }
    for planned, run in runs.items():
        assert cache.load(planned, sequence) is None
        cache.save(planned, run)
        found = cache.load(planned, sequence)
        assert type(found) is type(run) and found.results == run.results
        assert json.dumps(found.summary()) == json.dumps(run.summary())
        assert found.trace() == run.trace() and found.initialize_s == run.initialize_s
    every = run_all_exits(tracker, sequence)
    cache.save(AllExitsSpec("standard"), every)
    assert np.array_equal(cache.load(AllExitsSpec("standard"), sequence).ious, every.ious, equal_nan=True)

    assert ResultCache(tmp_path, {"weights": "b"}).load(offline, sequence) is None, "other weights"
    assert cache.load(offline, sequence.started_with("half")) is None, "another start"
    assert cache.load(offline, sequence.head(2)) is None, "another length"
    assert ResultCache(None, {}).load(offline, sequence) is None
    ResultCache(None, {}).save(offline, runs[offline])


def test_a_budget_starts_again_at_the_first_sequence(folder, tracker, tmp_path):
    sequences = load_sequences(folder)
    cache = ResultCache(tmp_path, {})
    plain = RunSpec("standard", None, "exit 1", policies("1", 3, None)["exit 1"])
    budget = RunSpec("standard", None, "budget", plain.policy, Budget(50.0))
    for planned in (plain, budget):
        ((_, runs),) = run_here(tracker, [Work(planned, sequences[:2], cache)], 0.0, {})
        assert [run.sequence.name for run in runs] == ["fast", "slow"]
    assert [run is None for run in Work(plain, sequences, cache).cached_runs()] == [False, False, True]
    assert Work(budget, sequences, cache).cached_runs() == [None] * 3, "it learnt from the first two"
    assert None not in Work(budget, sequences[:2], cache).cached_runs()
    tracker.set_policy(policies("3", 3, None)["exit 3"])
    list(run_here(tracker, [Work(budget, sequences[:2], cache)], 0.0, {}))
    assert tracker.policy is budget.policy, "it has the exit costs, though nothing was left to run"


def test_a_failure_in_a_process_is_reported(folder, tiny_weights, tmp_path, capsys):
    (tmp_path / "broken" / "img").mkdir(parents=True)
    (tmp_path / "broken" / "groundtruth.txt").write_text("1,2,30,40\n" * 2)
    for number in range(2):
        (tmp_path / "broken" / "img" / f"{number}.png").write_text("no image")
    command = ["--sequences", str(tmp_path), "--model", str(tiny_weights), "--exits", "1", "--engine", "torch"]
    command += ["--threads", "1"]
    assert cli.main([*command, "--jobs", "2"]) == 2
    assert "0.png is not a readable image" in capsys.readouterr().err


def test_random_exits_are_seeded_by_the_sequence():
    planned = RunSpec("standard", None, "random", RandomExit())
    first, second = (planned.policy_for(Sequence(name, (), np.zeros((0, 4)))) for name in ("a", "b"))
    again = planned.policy_for(Sequence("a", (), np.zeros((0, 4))))

    def drawn(policy):
        return [policy.should_exit(1, 0.5, 0.0) for _ in range(50)]

    draws = drawn(first)
    assert draws == drawn(again) != drawn(second)


def test_the_start_is_a_part_of_the_first_box(folder, tiny_weights, tmp_path, capsys):
    report = evaluate(folder, tiny_weights, tmp_path, "--init", "full", "quarter", "--variants", "small", exits="3")
    assert [(run["variant"], run["init"]) for run in report["runs"]] == [("small", "full"), ("small", "quarter")]
    full, quarter = (run["sequences"][0]["boxes"][0] for run in report["runs"])
    assert full == [30, 40, 32, 32] and quarter == [30, 40, 16, 16]
    assert report["runs"][1]["sequences"][2]["success_auc"] < report["runs"][0]["sequences"][2]["success_auc"]
    assert "small quarter" in capsys.readouterr().out
    assert all_exits_specs([RunSpec("small", None, "1", None, init=i) for i in ("half", "full", "half")]) == [
        AllExitsSpec("small", "half"), AllExitsSpec("small", "full"),
    ]  # fmt: skip


def test_all_exits_on_the_crops_of_the_last(folder, tracker):
    sequence = load_sequences(folder)[1]
    run = run_all_exits(tracker, sequence)
    tracker.set_policy(policies("3", 3, None)["exit 3"])
    alone = run_sequence(tracker, sequence)
    assert run.boxes[1:, -1] == pytest.approx(alone.boxes[1:], abs=1e-3)
    assert run.scores[1:] == pytest.approx(np.array([result.exit_scores for result in alone.results]), abs=1e-5)
    assert np.isnan(run.ious).all(1).tolist() == [True, False, True, False], "the start, and where it is absent"
    last = metrics.overlaps(run.boxes[[1, 3], -1], sequence.truth[[1, 3]])
    assert run.ious[[1, 3], -1] == pytest.approx(last)


# --- by attribute, exit and level -------------------------------------------------------------------------------------


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


def difficult(name: str, ious) -> AllExitsRun:
    """Exit 1 has these IoUs, exit 2 always 1."""
    run = made_run(name, ious, [1] * len(ious))
    boxes = np.stack([overlapping([1.0, *np.nan_to_num(ious)]), overlapping([1.0] * (len(ious) + 1))], axis=1)
    scores = np.full(boxes.shape[:2], 0.5)
    scores[0] = np.nan
    return AllExitsRun(run.sequence, scores, boxes)


def test_by_level():
    passes = [difficult("a", [0.95, 0.1, np.nan]), difficult("b", [0.1])]
    levels = analysis.levels_by_sequence(passes)
    assert {name: found.tolist() for name, found in levels.items()} == {"a": [0, 1, 5, 0], "b": [0, 5]}
    found = analysis.by_level(RUNS, levels)
    assert {level: (values["frames"], values["exits"]) for level, values in found.items()} == {
        1: (1, {1: 1}), 2: (0, {}), 3: (0, {}), 4: (0, {}), 5: (2, {2: 1, 3: 1}),
    }  # fmt: skip
    assert found[1]["ao"] == pytest.approx(0.9) and found[5]["ao"] == pytest.approx(0.45)
    assert math.isnan(found[2]["ao"])

    entry = analysis.difficulty_entry(passes)
    assert entry["levels"][5] == {
        "exit_1_iou": [0.0, 0.2], "frames": 2, "share": pytest.approx(2 / 3),
        "mean_iou_by_exit": pytest.approx([0.1, 1.0]),
    }  # fmt: skip
    assert entry["levels"][1]["exit_1_iou"] == [0.8, 1.0]
    assert entry["mean_iou_by_exit"] == pytest.approx([(0.95 + 0.2) / 3, 1.0])

    run = {"variant": "standard", "init": "full", "stream_hz": None, "policy": "exit 1", "by_level": found}
    printed = report.level_table([run], [{"variant": "standard", "init": "full", **entry}]).splitlines()
    assert printed[1].split() == ["AUC", "by", "difficulty,", "standard", "frames", "(1)"]
    assert printed[2].split() == ["1", "1", "0.857"] and printed[3].split() == ["2", "0", "-"]
    assert printed[-1] == "  (1) standard, offline, exit 1"


def test_the_table_of_attributes():
    attributes = analysis.by_attribute([run.summary() for run in RUNS])
    run = {"variant": "standard", "init": "half", "stream_hz": 30.0, "policy": "exit 1", "by_attribute": attributes}
    printed = report.attribute_table([run]).splitlines()
    assert printed[2].split() == ["Blur", "1", f"{attributes['Blur']['success_auc']:.3f}"]
    assert printed[-1] == "  (1) standard half, 30 Hz, exit 1"
    assert report.attribute_table([{**run, "by_attribute": {}}]) == ""
    missed = analysis.missed_where_absent([run.summary() for run in RUNS])
    assert f"(missed where absent): AUC  {missed['success_auc']:.3f}, P " in report.absent_note("lasot", missed)


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server_sets(tmp_path_factory):
    """GOT-10k's and TrackingNet's test sets, a sequence of three frames each."""
    root = tmp_path_factory.mktemp("server_sets")
    got10k = root / "got10k" / "test" / "GOT-10k_Test_000001"
    trackingnet = root / "trackingnet" / "TEST"
    for images in (got10k, trackingnet / "frames" / "x_0"):
        images.mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(images / f"{number + 1:08d}.png"), np.full((60, 80, 3), 40 * number, np.uint8))
    (root / "got10k" / "test" / "list.txt").write_text(f"{got10k.name}\n")
    (got10k / "groundtruth.txt").write_text("10.0,12.0,20.0,16.0\n")
    (trackingnet / "anno").mkdir()
    (trackingnet / "anno" / "x_0.txt").write_text("10,12,20,16\n")
    return root


def test_submissions(server_sets, tiny_weights, tmp_path, capsys):
    report = evaluate(server_sets / "got10k", tiny_weights, tmp_path, "--submission", str(tmp_path), exits="1,2")
    assert report["dataset"] == "got10k_test"
    assert report["runs"][0]["mean"]["success_auc"] is None, "the first box, which was given, is no result"
    assert report["runs"][0]["mean"]["exits"] == {"1": 2}
    with ZipFile(tmp_path / "got10k_test-exit_2.zip") as archive:
        name = "GOT-10k_Test_000001"
        assert sorted(archive.namelist()) == [f"{name}/{name}_001.txt", f"{name}/{name}_time.txt"]
        boxes = np.loadtxt(archive.open(f"{name}/{name}_001.txt"), delimiter=",")
        times = np.loadtxt(archive.open(f"{name}/{name}_time.txt"), delimiter=",")
    assert boxes.shape == (3, 4) and boxes[0].tolist() == [10, 12, 20, 16]
    assert boxes == pytest.approx(np.array(report["runs"][1]["sequences"][0]["boxes"]), abs=0.01)
    assert times.shape == (3,) and (times > 0).all()
    assert "got10k_test-exit_1.zip" in capsys.readouterr().out

    evaluate(server_sets / "trackingnet", tiny_weights, tmp_path, "--submission", str(tmp_path / "new"), exits="1")
    with ZipFile(tmp_path / "new" / "trackingnet-exit_1.zip") as archive:
        assert archive.namelist() == ["x_0.txt"]
        assert np.loadtxt(archive.open("x_0.txt"), delimiter=",").shape == (3, 4)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("got10k", ["--levels"], "only got10k_test's server has it"),
        ("got10k", ["--submission", "z", "--first", "2"], "whole standard sequences"),
        ("got10k", ["--submission", "z", "--init", "half"], "whole standard sequences"),
        (None, ["--submission", "z"], "plain has no such server"),
        (None, ["--dataset", "otb"], r"expected NAME/\{img"),
        (None, ["--jobs", "2", "--stream", "30"], "leave it at 1"),
        (None, ["--jobs", "2", "--budget-ms", "30"], "leave it at 1"),
        (None, ["--init", "half", "--card", "card.json"], "add `full` to --init"),
    ],
)
def test_what_cannot_be_asked_for(folder, server_sets, tiny_weights, data, options, message, capsys):
    path = folder if data is None else server_sets / data
    assert cli.main(["--sequences", str(path), "--model", str(tiny_weights), "--engine", "torch", *options]) == 2
    assert re.search(message, capsys.readouterr().err)
