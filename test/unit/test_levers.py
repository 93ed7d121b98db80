"""benchmarks/levers.py, in miniature: what it compares, not what comes out."""

import json
import sys

import cv2
import levers
import numpy as np
from random_network import MINIATURE, random_model
from test_training import make_shard

from dytrack_ros.model import load_weights, save_weights


def make_sequence(folder):
    (folder / "square" / "img").mkdir(parents=True)
    for number in range(4):
        image = np.full((120, 160, 3), 60, np.uint8)
        image[40:70, 50 + 2 * number : 80 + 2 * number] = (20, 20, 220)
        cv2.imwrite(str(folder / "square" / "img" / f"{number:04d}.png"), image)
    (folder / "square" / "groundtruth.txt").write_text("".join(f"{50 + 2 * n},40,30,30\n" for n in range(4)))
    return folder


def test_levers_differ_in_what_they_say_and_are_not_trained_twice(tmp_path, capsys, monkeypatch):
    weights = save_weights(tmp_path / "miniature.safetensors", random_model(MINIATURE))
    options = ["--data", make_shard(tmp_path / "made_up.tar"), "--sequences", make_sequence(tmp_path / "sequences")]
    options += ["--model", weights, "--steps", 1, "--batch", 2, "--seeds", 3, 4, "--engine", "torch"]
    options += ["--work", tmp_path / "work", "--results", tmp_path / "results.json"]
    monkeypatch.setattr(sys, "argv", ["levers", *map(str, options)])
    trained = []
    run = levers.Trainer.run
    monkeypatch.setattr(levers.Trainer, "run", lambda trainer: trained.append(trainer.augmentation) or run(trainer))
    levers.main()
    assert len(trained) == 2 * len(levers.LEVERS)
    for augmentation, lever in zip(trained, levers.LEVERS * 2, strict=True):
        told = {name: getattr(augmentation.config, name) for name in lever.changes}
        assert told == lever.changes and augmentation.model.background_mask == lever.background_mask
        assert (augmentation.cutouts is not None) == bool(augmentation.config.synthetic)
    assert (
        load_weights(tmp_path / "work" / "background_mask-3" / "weights.safetensors").config.background_mask
        == levers.VEIL
    )
    report, table = json.loads((tmp_path / "results.json").read_text()), capsys.readouterr().out
    assert [len(row["runs"]) for row in report["rows"]] == [2] * len(levers.LEVERS)
    aucs = [auc for row in report["rows"] for found in row["runs"] for share in found.values() for auc in share]
    assert len(aucs) == len(levers.LEVERS) * 2 * 2 * 3 and all(0 <= auc <= 1 for auc in aucs)
    assert table.count("±") == len(levers.LEVERS) * 6
    levers.main()
    assert len(trained) == 2 * len(levers.LEVERS) and capsys.readouterr().out == table
