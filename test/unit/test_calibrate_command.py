"""The command `calibrate`, from sequences to the thresholds that a tracker's budget uses."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dytrack_ros.data.sequences import load_sequence
from dytrack_ros.evaluation.all_exits import sample_exits
from dytrack_ros.policies import FixedExit, FrameBudget
from dytrack_ros.policies.calibration import NO_FILE, calibration_file
from dytrack_ros.tracking import DyTracker


@pytest.fixture(scope="module")
def sequence_folder(tmp_path_factory):
    """Two sequences of six frames in which a 48 px square moves; it is absent from one frame."""
    folder = tmp_path_factory.mktemp("sequences")
    for name, step in (("slow", 4), ("fast", 12)):
        images = folder / name / "img"
        images.mkdir(parents=True)
        lines = []
        for number in range(6):
            image = np.full((200, 260, 3), 60, np.uint8)
            x = 40 + step * number
            image[80:128, x : x + 48] = (10, 10, 220)
            cv2.imwrite(str(images / f"{number:05d}.png"), image)
            lines.append("nan,nan,nan,nan" if number == 3 else f"{x},80,48,48")
        (folder / name / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def weights(tiny_weights, tmp_path):
    return shutil.copy(tiny_weights, tmp_path / "random.safetensors")


def test_every_exit_answers_on_the_same_crop(sequence_folder, tiny_weights):
    tracker = DyTracker.from_pretrained(tiny_weights, engine="torch")
    sequence = load_sequence(sequence_folder / "slow")
    tracker.initialize(sequence.image(0), sequence.truth[0])
    start = tracker.box
    scores, boxes = tracker.predict_all_exits(sequence.image(1))
    assert tracker.box == start
    for exit_index in (1, 2, 3):
        tracker.box = start
        tracker.set_policy(FixedExit(exit_index))
        result = tracker.track(sequence.image(1))
        assert result.exit_scores == pytest.approx(scores[:exit_index], abs=1e-6)
        assert result.box == pytest.approx(boxes[exit_index - 1], abs=1e-3)


def test_frames_without_a_target_are_no_samples(sequence_folder, tiny_weights):
    tracker = DyTracker.from_pretrained(tiny_weights, engine="torch")
    samples = sample_exits(tracker, load_sequence(sequence_folder / "fast"))
    assert len(samples) == 4, "five frames after the first, one of them without a target"
    assert all(len(sample.scores) == len(sample.ious) == 3 for sample in samples)
    assert samples == sample_exits(tracker, load_sequence(sequence_folder / "fast")), "the same seed, the same exits"


def test_from_sequences_to_thresholds(sequence_folder, weights, tmp_path):
    assert NO_FILE in DyTracker.from_pretrained(weights, engine="torch").calibration_note
    command = [sys.executable, "-m", "dytrack_ros.cli.calibrate", "--data", str(sequence_folder)]
    command += ["--model", str(weights), "--engine", "torch", "--samples", str(tmp_path / "samples.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "(chosen)" in done.stdout and "8 frames of 2 sequences" in done.stdout
    made = json.loads(calibration_file(weights).read_text())
    assert made["frames"] == 8 and made["sequences"] == ["fast", "slow"] and set(made["held_out_mean_iou"]) == {
        "direct search", "shares in proportion to q^k",
    }  # fmt: skip
    assert [len(record["score_quantiles"]) for record in made["exits"]][0] == 11
    assert made["relative_costs"][0] == 1 and made["relative_costs"] == sorted(made["relative_costs"])
    samples = json.loads((tmp_path / "samples.json").read_text())["sequences"]
    assert sum(map(len, samples.values())) == 8

    tracker = DyTracker.from_pretrained(weights, engine="torch", policy=FrameBudget(0.02))
    assert tracker.calibration_note == "random.calibration.json"
    low, high = (min(map(min, made["family"]["thresholds"])), max(map(max, made["family"]["thresholds"])))
    tracker.policy.budget_s = sum(tracker.policy.exit_seconds(k) for k in (1, 3)) / 2
    assert all(low <= tau <= high for tau in tracker.policy.thresholds_in_force)
    wrong = subprocess.run([*command[:4], str(tmp_path)], capture_output=True, text=True)
    assert wrong.returncode == 2 and "no sequences" in wrong.stderr


def test_changed_weights_fall_back_to_the_defaults_and_say_so(sequence_folder, weights, tmp_path):
    command = [sys.executable, "-m", "dytrack_ros.cli.calibrate", "--data", str(sequence_folder)]
    subprocess.run([*command, "--model", str(weights), "--engine", "torch"], check=True, capture_output=True)
    other = tmp_path / "other"
    other.mkdir()
    from random_network import random_model

    from dytrack_ros.model import save_weights

    save_weights(other / "random.safetensors", random_model(seed=1))
    shutil.copy(calibration_file(weights), calibration_file(other / "random.safetensors"))
    tracker = DyTracker.from_pretrained(other / "random.safetensors", engine="torch", policy=FrameBudget(0.02))
    assert tracker.calibration is None
    assert "was made for weights" in tracker.calibration_note
