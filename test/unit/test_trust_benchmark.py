"""benchmarks/trust.py, in miniature: what it compares, not what comes out."""

import json
import sys

import pytest
import trust
from random_network import MINIATURE, random_model
from test_levers import make_sequence

from dytrack_ros.model import save_weights


def test_full_depth_the_papers_rule_and_trust_on_the_same_sequences(tmp_path, capsys, monkeypatch):
    weights = save_weights(tmp_path / "miniature.safetensors", random_model(MINIATURE))
    options = ["--sequences", make_sequence(tmp_path / "sequences"), "--model", weights, "--tau-1", 0.3]
    options += ["--engine", "torch", "--results", tmp_path / "results.json"]
    monkeypatch.setattr(sys, "argv", ["trust", *map(str, options)])
    trust.main()
    rows = {row["policy"]: row for row in json.loads((tmp_path / "results.json").read_text())["rows"]}
    assert list(rows) == [trust.FULL_DEPTH, "paper's rule", "with trust"]
    assert rows[trust.FULL_DEPTH]["exits"] == {"3": 3}, "every frame but the first"
    assert all(sum(row["exits"].values()) == 3 and row["tau_1"] == 0.3 for row in rows.values())
    for row in rows.values():
        assert row["ms_over_frames"] == pytest.approx(row["ms_over_sequences"]), "one sequence: both means are one"
    assert "| `miniature`, full depth |" in capsys.readouterr().out
