"""research/width_reduction.py: a wide network cut to a narrow one by least squares."""

from dataclasses import replace

import torch
from random_network import MINIATURE, lively_model, random_model
from torch.nn import functional as F
from training_layouts import make_shard
from width_reduction import main, reduce_width

from dytrack_ros.model import load_weights, save_weights
from dytrack_ros.model.presets import PRESETS
from dytrack_ros.model.weights import read_state

WIDE = replace(MINIATURE, width=32, heads=4, head_channels=16)


def crops(count=24, seed=0):
    torch.manual_seed(seed)
    return (
        F.interpolate(torch.randn(count, 3, size // 8, size // 8), size=size, mode="bicubic")
        for size in (WIDE.template_size, WIDE.search_size)
    )


@torch.no_grad()
def heat_correlation(a, b, template, search):
    """Of each exit's log heat maps, over crops and cells."""
    pairs = zip(a(template, search), b(template, search), strict=True)
    maps = ([output.log_heat_maps - output.log_heat_maps.mean() for output in pair] for pair in pairs)
    return [float(F.cosine_similarity(x.flatten(), y.flatten(), dim=0)) for x, y in maps]


def test_half_the_width_keeps_most_of_what_the_network_does():
    wide = lively_model(WIDE)
    narrow, projection = reduce_width(wide, MINIATURE, *crops())
    assert narrow.config == MINIATURE and projection.shape == (32, 16)
    unfitted = random_model(MINIATURE, seed=1)
    kept, chance = (heat_correlation(wide, n, *crops(seed=1)) for n in (narrow, unfitted))
    assert min(kept) > 0.4 and sum(kept) > sum(map(abs, chance)) + 1
    with torch.no_grad():
        tokens = [network(*crops(seed=1))[-1].tokens for network in (wide, narrow)]
    assert F.cosine_similarity(tokens[0] @ projection, tokens[1], dim=2).mean() > 0.7


def test_the_script_writes_weights_and_projection(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "dytrack_tiny", MINIATURE)
    save_weights(tmp_path / "wide.safetensors", lively_model(WIDE))
    shard, out = make_shard(tmp_path / "train-000.tar"), tmp_path / "start.safetensors"
    given = ["--teacher", str(tmp_path / "wide.safetensors"), "--data", str(shard), "--pairs", "8", "--out", str(out)]
    assert main(given) == 0
    assert load_weights(out).config == MINIATURE
    assert read_state(tmp_path / "start.projection.safetensors")["projection"].shape == (32, 16)
