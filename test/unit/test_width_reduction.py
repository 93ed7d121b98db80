"""research/width_reduction.py: a wide network cut to a narrow one by least squares."""

from dataclasses import replace

import pytest
import torch
from random_network import MINIATURE, lively_model, random_model
from torch.nn import functional as F
from training_layouts import make_shard
from width_reduction import _choose_units, _least_squares, main, reduce_width

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


def test_only_width_heads_and_head_channels_may_differ():
    with pytest.raises(ValueError, match="differ in adapters"):
        reduce_width(random_model(WIDE), replace(MINIATURE, adapters=(0, 1, 0)), *crops())
    gated = replace(WIDE, recycling="d")
    with pytest.raises(ValueError, match="recycling 'd'"):
        reduce_width(random_model(gated), replace(MINIATURE, recycling="d"), *crops())


def test_weighted_least_squares_recovers_the_map():
    torch.manual_seed(0)
    inputs, matrix, bias = torch.randn(500, 6), torch.randn(4, 6), torch.randn(4)
    wanted = inputs @ matrix.T + bias
    wanted[::2] += 100  # of no weight
    weight = torch.tensor([0.0, 1.0]).repeat(250)
    found, offset = _least_squares(inputs, wanted, weight)
    torch.testing.assert_close(found, matrix, rtol=0, atol=0.02)
    torch.testing.assert_close(offset, bias, rtol=0, atol=0.02)
    found, offset = _least_squares(torch.zeros(50, 6), torch.full((50, 4), 3.0))
    assert not found.any() and offset.tolist() == pytest.approx([3.0] * 4), "constant inputs leave the mean"


def test_units_are_chosen_together_not_one_by_one():
    """Eight inputs that all say the same must not crowd out the one that says something else."""
    torch.manual_seed(0)
    loud, quiet = torch.randn(1000, 1), torch.randn(1000, 1)
    inputs = torch.cat([loud + 1e-3 * torch.randn(1000, 15), quiet], dim=1).double()
    targets = torch.cat([loud, 0.3 * quiet], dim=1).double()
    chosen = _choose_units(inputs.T @ inputs, inputs.T @ targets, 9)
    assert len(chosen) == 9 and 15 in chosen


def test_the_script_writes_weights_and_projection(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "dytrack_tiny", MINIATURE)
    save_weights(tmp_path / "wide.safetensors", lively_model(WIDE))
    shard, out = make_shard(tmp_path / "train-000.tar"), tmp_path / "start.safetensors"
    assert (
        main(["--teacher", str(tmp_path / "wide.safetensors"), "--data", str(shard), "--pairs", "8", "--out", str(out)])
        == 0
    )
    assert load_weights(out).config == MINIATURE
    assert read_state(tmp_path / "start.projection.safetensors")["projection"].shape == (32, 16)
