"""Sequences, their hard variants, the measures, and the command `evaluate`."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.cli import add_to_card, policies
from dytrack_ros.evaluation.datasets import as_variant, load_sequence, load_sequences, read_truth
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
    tracker.policy = policies("2", 3, None)["exit 2"]
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


def test_cards_take_accuracy_and_no_times(tmp_path):
    card = tmp_path / "card.json"
    card.write_text('{"model": "m"}')
    mean = {"success_auc": 0.612345, "mean_ms": 12.0, "exits": {1: 3}}
    add_to_card(card, "standard", "adaptive", policies("adaptive", 3, [0.8, 0.7])["adaptive"], mean)
    assert json.loads(card.read_text())["evaluation"] == {
        "standard": {"adaptive": {"success_auc": 0.6123, "thresholds": [0.8, 0.7], "exits": {"1": 3}}}
    }


def test_the_evaluate_command_end_to_end(sequence_folder, tiny_weights, tmp_path):
    command = [sys.executable, "-m", "dytrack_ros.evaluation.cli", "--data", str(sequence_folder)]
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
