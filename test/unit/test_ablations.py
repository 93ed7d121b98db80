"""benchmarks/ablations.py and held_out.py, in miniature: what they compare, not what comes out."""

import json
import sys

import ablations
import held_out
import numpy as np
import pytest
import torch
from random_network import MINIATURE, random_model
from test_training import make_shard

from dytrack_ros.data.shards import ShardDataset
from dytrack_ros.model import DyTrack, save_weights
from dytrack_ros.training.sampling import PairSampler


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    return make_shard(tmp_path_factory.mktemp("shards") / "made_up.tar")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "miniature.safetensors", random_model(MINIATURE))


def scenes_drawn(images):
    sampler = PairSampler(images, 5)
    return {scene for step in range(30) for scene in sampler.batch(step, 8).scene.tolist()}


def test_no_scene_is_trained_on_and_kept_aside(shard):
    table = ShardDataset([shard]).images
    rest, aside = held_out.split_scenes(table, 3)
    assert not scenes_drawn(rest) & scenes_drawn(aside)
    assert scenes_drawn(rest) | scenes_drawn(aside) == scenes_drawn(held_out.Images(table))
    assert len(rest.images) == len(aside.images) == len(table)  # numbers stay: both draw from one bank


def run(module, *options):
    sys.argv = [module.__name__, *map(str, options)]
    module.main()


def test_all_choices_are_trained_alike_and_not_twice(shard, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ablations, "KEPT_ASIDE_EVERY", 3)
    monkeypatch.setattr(sys, "argv", [])
    started = []
    monkeypatch.setattr(
        ablations.Trainer, "run", lambda trainer, run=ablations.Trainer.run: started.append(trainer) or run(trainer)
    )
    options = [
        "--data",
        shard,
        "--model",
        weights,
        "--first-steps",
        1,
        "--steps",
        1,
        "--batch",
        2,
        "--pairs",
        32,
        "--seeds",
        3,
        4,
    ]
    options += ["--work", tmp_path / "work", "--results", tmp_path / "results.json"]
    run(ablations, *options)
    first, *second = started
    assert (first.config.stage, first.model.config.recycling) == (1, "none")
    assert {(t.model.config.recycling, t.config.distillation, t.config.strategy) for t in second} == {
        *((schema, "target_aware", "joint") for schema in ("none", "a", "b", "c", "d")),
        *(("b", mode, "joint") for mode in ("off", "plain")),
        *(("b", "target_aware", strategy) for strategy in ("frozen_backbone", "one_by_one")),
    }
    assert len(second) == 9 * 2 and {trainer.step for trainer in second} == {1}
    report, table = json.loads((tmp_path / "results.json").read_text()), capsys.readouterr().out
    assert [len(row["runs"]) for row in report["rows"]] == [2] * 9
    assert table.count("±") == 9 * 6

    run(ablations, *options)
    assert len(started) == 19 and capsys.readouterr().out == table


def test_all_start_from_the_same_encoder_and_exits_that_know_nothing(shard, weights, tmp_path):
    args = ablations.parser().parse_args(
        ["--data", str(shard), "--model", str(weights), "--first-steps", "1", "--batch", "2", "--work", str(tmp_path)]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "KEPT_ASIDE_EVERY", 3)
        laboratory = ablations.Laboratory(args)
    assert laboratory.config.search_size == MINIATURE.search_size // 2
    for recycling in ("none", "c"):
        model = laboratory._exits_unlearnt(recycling)
        for name, value in laboratory.start.blocks.state_dict().items():
            torch.testing.assert_close(model.blocks.state_dict()[name], value)
        template, search = (torch.randn(2, 3, s, s) for s in (MINIATURE.template_size // 2, MINIATURE.search_size // 2))
        outputs = model.eval()(template, search)
        assert all(torch.allclose(output.score, torch.tensor(0.5)) for output in outputs)
    plain = laboratory._exits_unlearnt("none").eval()(template, search)[-1].box
    torch.testing.assert_close(plain, laboratory.start.eval()(template, search, [2])[-1].box)


def test_accuracy_of_a_network_that_knows_the_answer():
    class Knowing(DyTrack):
        def forward(self, template, search):
            boxes = crops.box
            outputs = super().forward(template, search)
            return [output._replace(box=boxes, score=torch.full((len(boxes),), 0.75)) for output in outputs]

    box = torch.tensor([[0.2, 0.2, 0.6, 0.7], [0.1, 0.3, 0.5, 0.5]])
    pixels = torch.zeros(2, 3, 64, 64)
    crops = held_out.CropBatch(pixels[..., :32, :32], pixels, box, torch.tensor([True, False]))
    found = held_out.accuracy(Knowing(MINIATURE), [crops], None)
    np.testing.assert_allclose(found.iou, 1.0, atol=1e-6)
    np.testing.assert_allclose(found.score_error, 0.25, atol=1e-6)
    np.testing.assert_allclose(found.absent, 0.75)


def test_the_table_of_held_out_pairs(shard, weights, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    run(held_out, "--data", shard, "--models", weights, "--pairs", 32, "--absent", 0.5)
    (row,) = capsys.readouterr().out.splitlines()[2:]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == str(weights) and all(len(cell.split(", ")) == 3 for cell in cells[1:])
