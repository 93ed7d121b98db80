"""The command that makes weights for a smaller search region."""

import json

from random_network import lively_model

from dytrack_ros.cli import narrow
from dytrack_ros.model import load_weights, save_weights


def test_narrow(tmp_path, capsys):
    weights, out = save_weights(tmp_path / "whole.safetensors", lively_model()), tmp_path / "narrow.safetensors"
    weights.with_suffix(".json").write_text(json.dumps({"model": "whole", "seed": 4}))
    assert narrow.main(["--model", str(weights), "--search-size", "192", "--out", str(out)]) == 0
    assert "search region 3 target sides, was 4" in capsys.readouterr().out
    config = load_weights(out).config
    assert (config.search_size, config.search_factor, config.search_tokens) == (192, 3.0, 144)
    assert json.loads(out.with_suffix(".json").read_text())["narrowed_from"]["seed"] == 4
    for size, name, said in (("320", "n.safetensors", "at most 256"), ("200", "n.safetensors", "patch size")):
        assert narrow.main(["--model", str(weights), "--search-size", size, "--out", str(tmp_path / name)]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / name).exists()
