"""A wide network cut to a narrow one by least squares, and the wide one as its teacher."""

import json
from dataclasses import replace

import pytest
import torch
from random_network import MINIATURE, lively_model, random_model
from test_training import make_shard, trainer_for
from torch.nn import functional as F

from dytrack_ros.cli import train as cli
from dytrack_ros.data.shards import ShardDataset
from dytrack_ros.model import DyTrack, load_weights, save_weights
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.distillation import Teacher, heat_loss, token_loss
from dytrack_ros.training.trainer import SMALLEST_RELATIVE_RATE, USUAL_SIZE
from dytrack_ros.training.width_reduction import _choose_units, _least_squares, reduce_width

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


def test_reduced_to_its_own_width_the_network_does_the_same():
    wide = lively_model(WIDE)
    narrow, projection = reduce_width(wide, WIDE, *crops())
    assert projection.shape == (32, 32)
    assert torch.linalg.matrix_rank(projection) == 31
    assert min(heat_correlation(wide, narrow, *crops(seed=1))) > 0.98


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


def test_constant_inputs_leave_the_mean():
    found, offset = _least_squares(torch.zeros(50, 6), torch.full((50, 4), 3.0))
    assert not found.any() and offset.tolist() == pytest.approx([3.0] * 4)


def test_units_are_chosen_together_not_one_by_one():
    """Eight inputs that all say the same must not crowd out the one that says something else."""
    torch.manual_seed(0)
    loud, quiet = torch.randn(1000, 1), torch.randn(1000, 1)
    inputs = torch.cat([loud + 1e-3 * torch.randn(1000, 15), quiet], dim=1).double()
    targets = torch.cat([loud, 0.3 * quiet], dim=1).double()
    chosen = _choose_units(inputs.T @ inputs, inputs.T @ targets, 9)
    assert len(chosen) == 9 and 15 in chosen


def test_the_teachers_losses_are_zero_for_its_equal_and_fall_with_learning():
    wide = lively_model(WIDE)
    equal = Teacher(wide, torch.eye(32))
    template, search = crops(4)
    lesson, outputs = equal(template, search), wide(template, search)
    assert token_loss(outputs, lesson) < 1e-6 and heat_loss(outputs[-1], lesson).max() < 1e-5
    assert heat_loss(outputs[0], lesson).min() > 1e-3
    assert not any(p.requires_grad for p in equal.parameters())
    assert not equal.train().network.training

    narrow, projection = reduce_width(wide, MINIATURE, *crops())
    teacher, student = Teacher(wide, projection), DyTrack(MINIATURE)
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    lesson, losses = teacher(template, search), []
    for _ in range(30):
        outputs = student(template, search)
        loss = token_loss(outputs, lesson) + heat_loss(outputs[-1], lesson).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_train_from_a_teacher_and_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(cli.PRESETS, "dytrack_tiny", MINIATURE)
    save_weights(tmp_path / "wide.safetensors", lively_model(WIDE))
    (tmp_path / "wide.json").write_text(json.dumps({"model": "wide", "seed": 5}))
    shard = make_shard(tmp_path / "train-000.tar")
    options = [
        "--data",
        str(shard),
        "--out",
        str(tmp_path / "run"),
        "--model",
        "dytrack_tiny",
        "--batch",
        "2",
        "--device",
        "cpu",
    ]
    options += [
        "--teacher",
        str(tmp_path / "wide.safetensors"),
        "--reduction-pairs",
        "8",
        "--relative-rates",
        "--resume",
    ]
    assert cli.main([*options, "--steps", "2"]) == 0
    assert cli.main([*options, "--steps", "4"]) == 0
    assert "resuming at step 2" in capsys.readouterr().out
    card = json.loads((tmp_path / "run" / "dytrack_tiny.json").read_text())
    assert card["reduced_from"] == {"model": "wide", "seed": 5} and card["pairs"] == 8
    assert load_weights(tmp_path / "run" / "dytrack_tiny.safetensors").config == MINIATURE
    header = (tmp_path / "run" / "curves.csv").read_text().splitlines()[0]
    assert "teacher_tokens,teacher_heat" in header


def test_relative_rates_spare_small_weights(tmp_path):
    data = ShardDataset([make_shard(tmp_path / "train-000.tar")])
    model = random_model(MINIATURE)
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight.copy_(torch.full_like(model.blocks[0].mlp.fc2.weight, USUAL_SIZE / 10))
    trainer = trainer_for(
        data, ImageBank.load(data, progress=False), tmp_path, model, relative_rates=True, lr_backbone=1e-3, lr=2e-3
    )
    rates = {id(p): group["base_lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert rates[id(model.blocks[0].mlp.fc2.weight)] == pytest.approx(1e-4)
    assert rates[id(model.blocks[0].norm1.weight)] == 1e-3
    assert rates[id(model.blocks[0].norm1.bias)] == pytest.approx(1e-3 * SMALLEST_RELATIVE_RATE)
    assert rates[id(model.heads[0].top_left[-1].weight)] == 2e-3
    assert set(rates) == {id(p) for p in model.parameters()} | {id(p) for p in trainer.distillation.parameters()}
