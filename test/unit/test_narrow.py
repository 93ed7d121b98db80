"""The command that makes weights for a smaller search region."""

import json

import numpy as np
import pytest
from random_network import lively_model

from dytrack_ros.cli import narrow
from dytrack_ros.model import load_weights, save_weights
from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker


@pytest.fixture
def weights(tmp_path):
    path = save_weights(tmp_path / "whole.safetensors", lively_model())
    path.with_suffix(".json").write_text(json.dumps({"model": "whole", "seed": 4}))
    return path


def test_the_narrow_weights_search_less_at_the_same_scale(weights, tmp_path, capsys):
    out = tmp_path / "narrow.safetensors"
    assert narrow.main(["--model", str(weights), "--search-size", "192", "--out", str(out)]) == 0
    assert "search region 3 target sides, was 4" in capsys.readouterr().out
    config = load_weights(out).config
    assert (config.search_size, config.search_factor, config.search_tokens) == (192, 3.0, 144)
    assert json.loads(out.with_suffix(".json").read_text())["narrowed_from"]["seed"] == 4
    tracker = DyTracker.from_pretrained(out, engine="torch", policy=FixedExit(3))
    tracker.initialize(np.full((120, 160, 3), 90, np.uint8), (60, 40, 30, 24))
    assert tracker.track(np.full((120, 160, 3), 90, np.uint8)).exit_index == 3


@pytest.mark.parametrize(
    ("size", "name", "said"),
    [
        ("320", "n.safetensors", "at most the model's 256"),
        ("200", "n.safetensors", "patch size"),
        ("192", "n.bin", "end in"),
    ],
)
def test_what_cannot_be_is_refused(weights, tmp_path, capsys, size, name, said):
    out = tmp_path / name
    assert narrow.main(["--model", str(weights), "--search-size", size, "--out", str(out)]) == 2
    assert said in capsys.readouterr().err and not out.exists()
