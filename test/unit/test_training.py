"""Losses, the trainer, averaged weights and the command ``train``, on a made-up shard and miniature networks."""

import csv
import json

import pytest
import torch
from random_network import MINIATURE, lively_model, random_model
from safetensors.torch import save_file
from training_layouts import make_coco, make_lasot, make_shard

from dytrack_ros.cli import train as cli
from dytrack_ros.data.shards import ShardDataset
from dytrack_ros.model import load_weights, save_weights
from dytrack_ros.model.corner_head import CornerHead
from dytrack_ros.model.dytrack import ExitOutput
from dytrack_ros.model.presets import PRESETS
from dytrack_ros.model.weight_files import load_config
from dytrack_ros.training.augmentation import PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.distillation import Teacher, heat_loss, token_loss
from dytrack_ros.training.losses import LossWeights, box_iou, corner_loss, exit_loss, giou_loss
from dytrack_ros.training.sampling import PairSampler
from dytrack_ros.training.trainer import SMALLEST_RELATIVE_RATE, USUAL_SIZE, TrainConfig, Trainer, amp_type


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    return make_shard(tmp_path_factory.mktemp("shards") / "train-000.tar")


@pytest.fixture(scope="module")
def dataset(shard):
    return ShardDataset([shard])


@pytest.fixture(scope="module")
def bank(dataset):
    return ImageBank.load(dataset, progress=False)


def trainer_for(dataset, bank, folder, model=None, **config):
    model = model or random_model(MINIATURE)
    config = TrainConfig(**{"steps": 4, "batch": 2, "warmup_steps": 1, **config})
    sampler = PairSampler(dataset, config.seed)
    return Trainer(model, sampler, PairAugmentation(bank, model.config, seed=config.seed), config, folder)


# --- losses ----------------------------------------------------------------------------------------------------------


def test_losses_of_known_boxes():
    a = torch.tensor([[0.0, 0, 0.5, 0.5]])
    far = torch.tensor([[0.5, 0.5, 1, 1]])
    assert box_iou(a, a) == 1 and giou_loss(a, a) == pytest.approx(0, abs=1e-6)
    # Two quarters of the unit square that touch in a point: IoU 0, hull 1, union 0.5.
    assert giou_loss(a, far) == pytest.approx(1.5, abs=1e-6)
    # The exit loss with the paper's weights.
    nothing = torch.zeros(1, 256, 8), torch.zeros(1, 2, 16, 16), torch.zeros(1, 321, 8)
    loss, iou = exit_loss(ExitOutput(far, torch.tensor([0.4]), *nothing), a, torch.tensor([True]), LossWeights())
    assert iou == 0
    assert loss == pytest.approx(5 * 0.5 + 2 * 1.5 + 5 * 0.4**2, abs=1e-5)
    assert LossWeights().imitation == 10


def test_an_absent_target_teaches_the_score_alone():
    truth = torch.tensor([[0.0, 0, 0.5, 0.5], [0.2, 0.2, 0.6, 0.6]])
    boxes = torch.tensor([[0.0, 0, 0.5, 0.5], [0.2, 0.2, 0.6, 0.6]], requires_grad=True)
    score = torch.tensor([1.0, 0.4])
    output = ExitOutput(boxes, score, torch.zeros(2, 256, 8), torch.zeros(2, 2, 16, 16), torch.zeros(2, 321, 8))
    loss, iou = exit_loss(output, truth, torch.tensor([True, False]), LossWeights(corner=0.5))
    assert iou == pytest.approx(1)
    only_present = exit_loss(
        ExitOutput(*(part[:1] for part in output)), truth[:1], torch.tensor([True]), LossWeights(corner=0.5)
    )
    assert float(loss.detach()) == pytest.approx(float(only_present[0].detach()) + 5 * 0.4**2 / 2, abs=1e-5)
    loss.backward()
    assert not boxes.grad[1].any()


def test_the_corner_loss_is_zero_where_the_expectation_is_the_corner_with_least_spread():
    truth = torch.tensor([[0.3, 0.4, 0.71, 0.93]], dtype=torch.float64)
    heat = torch.full((1, 2, 16, 16), 1e-12, dtype=torch.float64)
    for corner, (x, y) in enumerate(truth.view(2, 2) * 16 - 0.5):
        (left, dx), (top, dy) = ((int(value), float(value % 1)) for value in (x, y))
        for row, column, weight in (
            (0, 0, (1 - dx) * (1 - dy)),
            (0, 1, dx * (1 - dy)),
            (1, 0, (1 - dx) * dy),
            (1, 1, dx * dy),
        ):
            heat[0, corner, top + row, left + column] = weight
    log_heat = heat.flatten(2).log().log_softmax(2).view_as(heat)
    torch.testing.assert_close(CornerHead.box(log_heat), truth, atol=1e-6, rtol=0)
    assert float(corner_loss(log_heat, truth)) == pytest.approx(0, abs=1e-6)
    for other in (log_heat.roll(1, 3), torch.zeros_like(heat).flatten(2).log_softmax(2).view_as(heat)):
        assert float(corner_loss(other, truth)) > 1


# --- the trainer ------------------------------------------------------------------------------------------------------


def changed_parts(before, model):
    parts = set()
    for name, value in model.state_dict().items():
        if not torch.equal(value, before[name]):
            pieces = name.split(".")
            parts.add(".".join(pieces[:2]) if pieces[0] in ("decisioners", "heads") else pieces[0])
    return parts


EXITS = [f"{part}.{k}" for k in range(3) for part in ("decisioners", "heads")]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"stage": 1}, {"embedding", "blocks", "decisioners.2", "heads.2"}),
        ({"stage": 2}, {"embedding", "blocks", *EXITS}),
        ({"stage": 2, "strategy": "frozen_backbone"}, set(EXITS)),
    ],
)
def test_what_each_stage_and_strategy_trains(dataset, bank, tmp_path, config, expected):
    trainer = trainer_for(dataset, bank, tmp_path, steps=2, **config)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    assert changed_parts(before, trainer.model) == expected


def test_exits_one_by_one(dataset, bank, tmp_path):
    trainer = trainer_for(dataset, bank, tmp_path, steps=3, strategy="one_by_one")
    for position in range(3):
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        imitators = [p.detach().clone() for p in trainer.distillation.parameters()]
        trainer._train_step()
        taught = not all(map(torch.equal, imitators, trainer.distillation.parameters()))
        assert taught == (position < 2), "the last exit imitates nobody"
        assert changed_parts(before, trainer.model) == {f"decisioners.{position}", f"heads.{position}"}


def test_a_resumed_run_ends_where_an_unbroken_one_does(dataset, bank, tmp_path):
    whole = trainer_for(dataset, bank, tmp_path / "whole", steps=4)
    whole.run()
    broken = trainer_for(dataset, bank, tmp_path / "broken", steps=2)
    broken.run()
    resumed = trainer_for(dataset, bank, tmp_path / "broken", model=random_model(MINIATURE, seed=9), steps=4)
    assert resumed.resume() and resumed.step == 2
    resumed.run()
    for network in ("model", "result"):
        ended = getattr(resumed, network).state_dict()
        for name, value in getattr(whole, network).state_dict().items():
            torch.testing.assert_close(ended[name], value, msg=f"{network}: {name}")


def test_averaged_weights_are_the_result_and_are_saved_beside_the_raw_ones(dataset, bank, tmp_path):
    trainer = trainer_for(dataset, bank, tmp_path, steps=6, lr=1e-2, ema=0.4)
    name = "heads.2.top_left.0.dense.conv.weight"
    expected = trainer.model.state_dict()[name].clone()
    for decay in (2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 0.4):
        trainer._train_step()
        expected = decay * expected + (1 - decay) * trainer.model.state_dict()[name]
    torch.testing.assert_close(trainer.result.state_dict()[name], expected)
    trainer.save()
    for file, network in (("raw", trainer.model), ("averaged", trainer.result)):
        saved = load_weights(tmp_path / f"{file}.safetensors").state_dict()[name]
        torch.testing.assert_close(saved, network.state_dict()[name].half().float())
    assert not torch.allclose(trainer.model.state_dict()[name], expected)
    without = trainer_for(dataset, bank, tmp_path / "without", ema=0.0)
    assert without.result is without.model
    without.save()
    assert not (tmp_path / "without" / "averaged.safetensors").exists()


def test_training_lowers_the_loss(dataset, bank, tmp_path):
    trainer = trainer_for(dataset, bank, tmp_path, steps=40, batch=8, lr=5e-3, lr_backbone=2e-3, distillation="off")
    trainer.run(log_every=10)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"])


def test_a_diverged_run_does_not_overwrite_what_was_saved(dataset, bank, tmp_path):
    trainer = trainer_for(dataset, bank, tmp_path, steps=2)
    trainer.save()
    saved = (tmp_path / "last.pt").read_bytes()
    with torch.no_grad():
        trainer.model.blocks[0].norm1.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="lower the learning rates"):
        trainer.run()
    assert (tmp_path / "last.pt").read_bytes() == saved


def test_curves_forget_what_came_after_the_saved_state(dataset, bank, tmp_path):
    trainer = trainer_for(dataset, bank, tmp_path, steps=3, strategy="one_by_one")
    trainer.run(log_every=1)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [bool(row[f"iou_{k}"]) for row, k in zip(rows, (1, 2, 3), strict=True)] == [True] * 3
    assert [rows[0][f"iou_{k}"] for k in (2, 3)] == ["", ""]
    trainer.step = 2
    trainer._trim_curves()
    assert [row["step"] for row in csv.DictReader((tmp_path / "curves.csv").open())] == ["1", "2"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"strategy": "all"}, "strategy 'all' must be one of joint, frozen_backbone, one_by_one"),
        ({"batch": 0}, "batch 0 must be at least 1"),
        ({"lr": float("nan")}, "lr nan must be at least 0"),
    ],
)
def test_impossible_training_configurations_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        TrainConfig(**values)


def test_bf16_is_taken_only_where_the_chip_has_it(monkeypatch):
    cpus = {"avx2 avx512f": None, "avx512_bf16": torch.bfloat16, "amx_bf16 amx_tile": torch.bfloat16}
    for flags, expected in cpus.items():
        monkeypatch.setattr("pathlib.Path.read_text", lambda path, flags=flags: f"flags : {flags}\n")
        assert amp_type("auto", "cpu") == expected, flags
    assert amp_type("off", "cpu") is None and amp_type("bf16", "cpu") == torch.bfloat16


def test_relative_rates_spare_small_weights(dataset, bank, tmp_path):
    model = random_model(MINIATURE)
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight.copy_(torch.full_like(model.blocks[0].mlp.fc2.weight, USUAL_SIZE / 10))
    trainer = trainer_for(dataset, bank, tmp_path, model, relative_rates=True, lr_backbone=1e-3, lr=2e-3)
    rates = {id(p): group["base_lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert rates[id(model.blocks[0].mlp.fc2.weight)] == pytest.approx(1e-4)
    assert rates[id(model.blocks[0].norm1.weight)] == 1e-3
    assert rates[id(model.blocks[0].norm1.bias)] == pytest.approx(1e-3 * SMALLEST_RELATIVE_RATE)
    assert rates[id(model.heads[0].top_left[-1].weight)] == 2e-3
    assert set(rates) == {id(p) for p in model.parameters()} | {id(p) for p in trainer.distillation.parameters()}


def test_a_teachers_losses_are_zero_for_its_equal():
    network = lively_model(MINIATURE)
    crops = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 64, 64)
    teacher = Teacher(network, torch.eye(16))
    taught, outputs = teacher(*crops), network(*crops)
    assert token_loss(outputs, taught) < 1e-6 and heat_loss(outputs[-1], taught).max() < 1e-5
    assert heat_loss(outputs[0], taught).min() > 1e-3
    assert not Teacher(network)(*crops).tokens, "without a projection only the heat maps teach"
    assert not any(p.requires_grad for p in teacher.parameters()) and not teacher.train().network.training


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def train(tmp_path, monkeypatch, shard):
    """The command on miniature networks with results in ``tmp_path / out``; returns its exit code and the card."""
    monkeypatch.setitem(PRESETS, "dytrack_tiny", MINIATURE)

    def run(*options, out="run", data=(str(shard),)):
        base = ["--data", *data, "--out", str(tmp_path / out), "--model", "dytrack_tiny", "--device", "cpu"]
        base += ["--batch", "2", "--threads", "1", "--amp", "off"]
        code = cli.main([*base, *options] if "--epochs" in options else [*base, "--steps", "1", *options])
        card = tmp_path / out / "dytrack_tiny.json"
        return code, json.loads(card.read_text()) if card.exists() else None

    return run


def test_train_and_resume(train, tmp_path, capsys):
    assert train()[0] == 0
    code, card = train("--steps", "3", "--resume")
    assert code == 0 and card["steps"] == 3 and card["pairs"] == 6 and "--steps 3" in card["command"]
    assert "resuming at step 1" in capsys.readouterr().out
    shipped, averaged, raw = (
        load_weights(tmp_path / "run" / f"{name}.safetensors").embedding.iou_token
        for name in ("dytrack_tiny", "averaged", "raw")
    )
    assert torch.equal(shipped, averaged) and not torch.equal(averaged, raw)
    assert train("--steps", "4", "--resume", "--motion", "0.5")[0] == 2
    assert "motion=0.0" in capsys.readouterr().err
    assert train("--steps", "4", "--resume", "--background-mask", "0.3")[0] == 2
    assert "background_mask=0.0" in capsys.readouterr().err


def test_other_sizes_resample_the_positions_and_are_kept(train, tmp_path, capsys):
    assert train("--size", "96")[0] == 0
    first = tmp_path / "run" / "dytrack_tiny.safetensors"
    config = load_config(first)
    assert (config.search_size, config.template_size) == (96, 48), "both crops at one scale"
    assert train("--init", str(first), "--ema", "0", out="next")[0] == 0
    assert load_config(tmp_path / "next" / "dytrack_tiny.safetensors") == config, "the sizes are those of --init"
    assert train("--init", str(first), "--size", "64", "--template-size", "64", out="third")[0] == 0
    config = load_config(tmp_path / "third" / "dytrack_tiny.safetensors")
    assert (config.search_size, config.template_size) == (64, 64)
    for options, said in (
        (("--size", "144"), "--template-size 72 must be a multiple of 16"),
        (("--init", str(first), "--recycling", "d"), "--model and --recycling ask for"),
        (("--crowd", "1.5"), "crowd 1.5 must lie in [0, 1]"),
        (("--init", "none.safetensors"), "none.safetensors"),
    ):
        assert train(*options, out="bad")[0] == 2
        assert said in capsys.readouterr().err


def test_training_straight_from_public_data(train, tmp_path, capsys):
    lasot, coco = make_lasot(tmp_path / "lasot"), make_coco(tmp_path / "coco")
    (coco / "train2017" / "000000000010.jpg").write_bytes(b"no jpeg")
    options = ("--sampling", "paper", "--max-gap", "2", "--epochs", "0.00033", "--reader-threads", "1")
    code, card = train(*options, data=(f"lasot:{lasot}", f"coco:{coco}"))
    assert code == 0
    assert card["data"] == ["coco", "lasot"] and card["pairs"] == 20 and card["unreadable_images"] == 1
    assert list(csv.DictReader((tmp_path / "run" / "curves.csv").open()))[-1]["step"] == "10"
    assert "unreadable images, whose pairs were replaced: 1 (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("lasot:{}", "testing_set.txt"),
        ("imagenet:/data", "NAME:FOLDER"),
        ("otb:{}", "for evaluation and not for training"),
    ],
)
def test_data_that_cannot_be_used_is_said(train, tmp_path, capsys, data, said):
    assert train(data=(data.format(tmp_path),))[0] == 2
    assert said in capsys.readouterr().err


def test_cutouts_are_made_once_and_the_background_mask_is_kept(train, tmp_path, capsys):
    options = ("--synthetic", "0.5", "--parts", "0.5", "--distractors", "2")
    assert train(*options, "--background-mask", "0.3")[0] == 0
    kept, weights = (tmp_path / "run" / name for name in ("cutouts.npz", "dytrack_tiny.safetensors"))
    made_at = kept.stat().st_mtime_ns
    assert load_config(weights).background_mask == 0.3
    again = (*options, "--init", str(weights), "--cutouts", str(kept))
    assert train(*again, out="next")[0] == 0
    assert kept.stat().st_mtime_ns == made_at and not (tmp_path / "next" / "cutouts.npz").exists()
    assert load_config(tmp_path / "next" / "dytrack_tiny.safetensors").background_mask == 0.3
    kept.write_bytes(b"")
    assert train(*again, out="next")[0] == 2
    assert "delete it" in capsys.readouterr().err


def test_a_teacher_is_learnt_from_and_named_in_the_card(train, tmp_path, capsys):
    save_weights(tmp_path / "wide.safetensors", lively_model(MINIATURE))
    (tmp_path / "wide.json").write_text(json.dumps({"model": "wide", "seed": 5}))
    code, card = train("--teacher", str(tmp_path / "wide.safetensors"), "--ema", "0")
    assert code == 0 and card["taught_by"] == {"model": "wide", "seed": 5}
    assert "teacher_tokens,teacher_heat" in (tmp_path / "run" / "curves.csv").read_text().splitlines()[0]
    wide = ("--teacher", str(tmp_path / "wide.safetensors"))
    save_file({"projection": torch.eye(16)}, tmp_path / "projection.safetensors")
    projected = ("--projection", str(tmp_path / "projection.safetensors"))
    assert train(*wide, *projected, "--stage", "1", out="first")[0] == 0
    for options, said in (
        ((*wide, "--background-mask", "0.5"), "give --background-mask 0.0"),
        (projected, "needs --teacher"),
        ((*wide, "--projection", wide[1]), "must hold a matrix `projection` of (16, 16)"),
    ):
        assert train(*options, out="bad")[0] == 2
        assert said in capsys.readouterr().err
