"""Reliability of scores, and the figures of `dytrack evaluate --report`."""

import math

import cv2
import numpy as np
import pytest
from square_sequences import write_sequences

from dytrack_ros.cli import evaluate as cli
from dytrack_ros.evaluation.analysis import reliability


def test_reliability_of_known_scores():
    scores = np.array([0.15, 0.11, 0.95, 0.85, 0.5])
    ious = np.array([0.33, 0.33, 0.75, np.nan, 0.5])
    found = reliability(scores, ious)
    assert found["frames"] == 4 and len(found["bins"]) == 10
    second, last = found["bins"][1], found["bins"][9]
    assert (second["from"], second["to"], second["frames"]) == (0.1, 0.2, 2)
    assert second["mean_score"] == pytest.approx(0.13) and second["mean_iou"] == pytest.approx(0.33)
    assert last["frames"] == 1 and found["bins"][8]["frames"] == 0, "a frame without a target does not count"
    assert math.isnan(found["bins"][8]["mean_iou"])
    # 2 of 4 frames are off by 0.2 in the mean of their bin, 1 by 0.2, 1 not at all.
    assert found["calibration_error"] == pytest.approx((2 * 0.2 + 0.2 + 0) / 4)
    assert found["mean_score"] == pytest.approx(np.mean([0.15, 0.11, 0.95, 0.5]))


def test_errors_within_a_bin_cancel_and_edges_belong_above():
    assert reliability(np.array([0.75, 0.75]), np.array([0.5, 1.0]))["calibration_error"] == pytest.approx(0)
    edges = reliability(np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.1, 1.0]))
    assert [each["frames"] for each in edges["bins"]] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert math.isnan(reliability(np.array([]), np.array([]))["calibration_error"])


@pytest.fixture(scope="module")
def command(tmp_path_factory, tiny_weights):
    folder = write_sequences(tmp_path_factory.mktemp("sequences"), {"still": 0, "fast": 9}, 5, {("still", 4)})
    command = ["--sequences", f"squares & more={folder}", "--model", str(tiny_weights), "--engine", "torch"]
    return [*command, "--threads", "1"]


def test_the_report_draws_each_set_and_rate(command, tmp_path, capsys):
    options = ["--exits", "1,3,adaptive", "--stream", "0.02", "--budget-ms", "50000", "--report", str(tmp_path)]
    assert cli.main([*command, *options]) == 0
    printed = capsys.readouterr().out
    names = [
        f"squares_more_standard_{rate}_{kind}.png"
        for rate in ("offline", "0.02_Hz") for kind in ("pareto", "success", "reliability")
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for name in names:
        image = cv2.imread(str(tmp_path / name))
        assert min(image.shape[:2]) > 150 and image.std() > 5, f"{name} shows something"
        assert f"wrote {tmp_path / name}" in printed


def test_without_a_fixed_exit_there_is_no_reliability(command, tmp_path):
    assert cli.main([*command, "--exits", "random", "--report", str(tmp_path)]) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_report_needs_is_said_before_anything_runs(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main([*command, "--report", str(tmp_path / "file" / "report")]) == 2
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.main([*command, "--report", str(tmp_path / "report")]) == 2
    assert "pip install matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
