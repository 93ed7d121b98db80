"""Data, sampling, augmentation, losses and the trainer, on a made-up shard."""

import csv
import io
import json
import subprocess
import sys
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from training_cost import training_flops
from random_network import TINY, random_model
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dytrack_ros.data.shards import ShardDataset, expand_shards
from dytrack_ros.model import DyTrack, DyTrackConfig, load_encoder, load_weights, save_weights
from dytrack_ros.model.corner_head import CornerHead
from dytrack_ros.model.dytrack import ExitOutput
from dytrack_ros.model.presets import preset
from dytrack_ros.model.vit import Block
from dytrack_ros.model.weights import load_config, resample_patch_embedding, resample_positions, with_search_region
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.augmentation import AugmentationConfig, PairAugmentation, box_in_window
from dytrack_ros.training.losses import LossWeights, box_iou, corner_loss, exit_loss, giou_loss
from dytrack_ros.training.sampling import PairSampler, SamplingConfig
from dytrack_ros.training.trainer import TrainConfig, Trainer


def make_shard(path):
    """Six stills and a video of eight frames; every target is a red rectangle on grey noise."""
    rng = np.random.default_rng(0)
    index = []
    with tarfile.open(path, "w") as archive:

        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        for number in range(14):
            video = number >= 6
            image = np.full((120, 160, 3), 90, np.uint8) + rng.integers(0, 30, (120, 160, 1), np.uint8)
            x, y, w, h = (
                (40 + 5 * (number - 6), 50, 24, 20) if video else rng.integers([20, 20, 15, 15], [90, 70, 40, 30])
            )
            image[y : y + h, x : x + w] = (0, 0, 200)
            name = f"{number:03d}.webp"
            add(name, cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 100])[1].tobytes())
            entry = {"file": name, "w": 160, "h": 120, "boxes": [[float(v) for v in (x, y, w, h)]], "source": "made"}
            if video:
                entry |= {"source": "film", "video": "film_0", "frame": 60 * (number - 6)}
            else:
                entry["boxes"].append([0.0, 0.0, 160.0, 120.0])
            index.append(json.dumps(entry))
        add("index.jsonl", "\n".join(index).encode())
    return path


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
    model = model or random_model()
    config = TrainConfig(**{"steps": 4, "batch": 2, "warmup_steps": 1, **config})
    sampler = PairSampler(dataset, config.seed)
    return Trainer(model, sampler, PairAugmentation(bank, model.config, seed=config.seed), config, folder)


# --- data ------------------------------------------------------------------------------------------------------------


def test_shards_are_read(dataset, bank):
    assert len(dataset.images) == 14
    assert [len(image.trainable_boxes()) for image in dataset.images[:6]] == [1] * 6, (
        "a box of the whole image is useless"
    )
    start = int(bank.offsets[3])
    assert torch.equal(bank.pixels[start : start + 160 * 120], torch.from_numpy(dataset.pixels(3)).view(-1, 3))


def test_missing_or_empty_data_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\.tar"):
        expand_shards([tmp_path])
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    with pytest.raises(ValueError, match="index.jsonl"):
        ShardDataset([tmp_path / "a.tar"])


def test_pairs_keep_their_gap_and_are_reproducible(dataset):
    sampler = PairSampler(dataset, 3, SamplingConfig(video_share=0.5))
    batch = sampler.batch(7, 200)
    again = sampler.batch(7, 200)
    assert np.array_equal(batch.search_image, again.search_image)
    assert not np.array_equal(batch.search_image, sampler.batch(8, 200).search_image)
    frames = [
        (dataset.images[a], dataset.images[b]) for a, b in zip(batch.template_image, batch.search_image, strict=True)
    ]
    videos = [(a, b) for a, b in frames if a.video]
    assert 70 < len(videos) < 130
    gaps = {abs(a.frame - b.frame) for a, b in videos}
    assert gaps == {0, 60}
    stills = [not dataset.images[number].video for number in batch.template_image]
    assert np.array_equal(batch.template_image[stills], batch.search_image[stills])


# --- augmentation ----------------------------------------------------------------------------------------------------


PLAIN = AugmentationConfig(
    brightness=0,
    contrast=0,
    saturation=0,
    grey=0,
    blur=0,
    motion_blur=0,
    low_resolution=0,
    noise=0,
    mosaic=0,
    distractor=0,
)


def test_the_box_is_where_the_target_is_after_all_jitter_and_flips(dataset, bank):
    augment = PairAugmentation(bank, TINY, PLAIN, seed=5)
    pairs = PairSampler(dataset, seed=5).batch(0, 32)
    crops = augment(pairs, 0)
    assert crops.template.shape == (32, 3, 128, 128) and crops.search.shape == (32, 3, 256, 256)
    for search, box in zip(crops.search, crops.box, strict=True):
        red = (search[0] > search[1] + 60).float()
        columns, rows = red.max(0).values.nonzero()[:, 0], red.max(1).values.nonzero()[:, 0]
        found = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 256
        assert (found - box).abs().max() < 5 / 256, "an image pixel is up to 5 crop pixels wide"


def test_augmentation_is_reproducible_and_varied(dataset, bank):
    augment = PairAugmentation(bank, TINY, seed=1)
    pairs = PairSampler(dataset, seed=1).batch(0, 4)
    first, again, other = augment(pairs, 0), augment(pairs, 0), augment(pairs, 1)
    assert torch.equal(first.search, again.search) and torch.equal(first.box, again.box)
    assert not torch.allclose(first.search, other.search)
    assert first.search.min() >= 0 and first.search.max() <= 255
    assert (first.box[:, 2:] > first.box[:, :2]).all()


def test_mosaic_fills_the_outside_with_another_image(dataset, bank):
    outside = AugmentationConfig(scale_jitter=0, mosaic=1, noise=0)
    pairs = PairSampler(dataset, seed=2).batch(0, 16)
    filled = PairAugmentation(bank, TINY, outside, seed=2)(pairs, 0).search
    black = PairAugmentation(bank, TINY, AugmentationConfig(scale_jitter=0, mosaic=0, noise=0), seed=2)(pairs, 0).search
    share_black = [(search.sum(1) == 0).float().mean() for search in (filled, black)]
    assert share_black[0] < 0.02 < share_black[1]


def test_distractors_stand_beside_the_target_or_before_a_part_of_it(dataset, bank):
    pairs = PairSampler(dataset, seed=3).batch(0, 32)
    without = PairAugmentation(bank, TINY, PLAIN, seed=3)(pairs, 0)
    intruded = PairAugmentation(bank, TINY, replace(PLAIN, distractor=1), seed=3)(pairs, 0)
    assert torch.equal(without.box, intruded.box)
    changed = ((without.search - intruded.search).abs() > 0.01).any(
        1
    )  # the mean, which contrast is taken around, moves too
    shares = changed.flatten(1).float().mean(1)
    assert (shares > 0).sum() > 16 and shares.max() < 0.1, "a side of 0.1 to 0.3 of the search region"
    rows, columns = (((without.box[:, i] + without.box[:, i + 2]) * 128).long().clamp(0, 255) for i in (1, 0))
    assert not changed[torch.arange(32), rows, columns].any(), "never before the target's centre"


def test_box_in_window():
    box, window = torch.tensor([[30.0, 40, 20, 10]]), torch.tensor([[10.0, 20, 80, 40]])
    torch.testing.assert_close(box_in_window(box, window), torch.tensor([[0.25, 0.5, 0.5, 0.75]]))


# --- losses ----------------------------------------------------------------------------------------------------------


def test_losses_of_known_boxes():
    a = torch.tensor([[0.0, 0, 0.5, 0.5]])
    far = torch.tensor([[0.5, 0.5, 1, 1]])
    assert box_iou(a, a) == 1 and giou_loss(a, a) == pytest.approx(0, abs=1e-6)
    # Two quarters of the unit square that touch in a point: IoU 0, hull 1, union 0.5.
    assert giou_loss(a, far) == pytest.approx(1.5, abs=1e-6)


def test_the_exit_loss_has_the_papers_weights():
    truth = torch.tensor([[0.0, 0, 0.5, 0.5]])
    nothing = torch.zeros(1, 256, 8), torch.zeros(1, 2, 16, 16), torch.zeros(1, 321, 8)
    output = ExitOutput(torch.tensor([[0.5, 0.5, 1, 1]]), torch.tensor([0.4]), *nothing)
    loss, iou = exit_loss(output, truth, torch.tensor([True]), LossWeights())
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


def test_absent_targets_are_another_scenes(dataset, bank):
    sampler = PairSampler(dataset, seed=4)
    augmentation = PairAugmentation(bank, TINY, AugmentationConfig(absent=1.0, noise=0), seed=4)
    pairs = sampler.batch(0, 16)
    crops = augmentation(pairs, 0)
    same_scene = torch.from_numpy(pairs.scene == np.roll(pairs.scene, 1))
    assert torch.equal(crops.present, same_scene)
    with_target = PairAugmentation(bank, TINY, AugmentationConfig(noise=0), seed=4)(pairs, 0)
    assert with_target.present.all()
    assert torch.equal(crops.search[~crops.present], with_target.search.roll(1, 0)[~crops.present])
    assert torch.equal(crops.search[crops.present], with_target.search[crops.present])


def test_the_corner_loss_is_least_where_the_expectation_is_the_corner():
    truth = torch.tensor([[0.3, 0.4, 0.71, 0.93]], dtype=torch.float64)
    logits = torch.zeros(1, 2, 16, 16, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(300):
        loss = corner_loss(logits.flatten(2).log_softmax(2).view_as(logits), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) == pytest.approx(0, abs=2e-3)
    box = CornerHead.box(logits.detach().flatten(2).log_softmax(2).view_as(logits))
    torch.testing.assert_close(box, truth, atol=2e-3, rtol=0)


# --- the trainer -----------------------------------------------------------------------------------------------------


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
    broken = trainer_for(dataset, bank, tmp_path / "broken", steps=4)
    for _ in range(2):
        broken._train_step()
    broken.save()
    resumed = trainer_for(dataset, bank, tmp_path / "broken", model=random_model(seed=9), steps=4)
    assert resumed.resume() and resumed.step == 2
    resumed.run()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, msg=name)


def test_training_lowers_the_loss(dataset, bank, tmp_path):
    trainer = trainer_for(dataset, bank, tmp_path, steps=24, batch=4, lr=2e-3, lr_backbone=5e-4, distillation="off")
    trainer.run(log_every=6)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [int(row["step"]) for row in rows] == [6, 12, 18, 24]
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


def test_resuming_with_another_configuration_is_refused(dataset, bank, tmp_path):
    trainer_for(dataset, bank, tmp_path).save()
    assert trainer_for(dataset, bank, tmp_path, steps=9).resume()
    with pytest.raises(ValueError, match="lr=0.0001"):
        trainer_for(dataset, bank, tmp_path, lr=1e-3).resume()


def test_curves_forget_what_came_after_the_saved_state(dataset, bank, tmp_path):
    trainer = trainer_for(dataset, bank, tmp_path, steps=3, strategy="one_by_one")
    trainer.run(log_every=1)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [bool(row[f"iou_{k}"]) for row, k in zip(rows, (1, 2, 3), strict=True)] == [True] * 3
    assert [rows[0][f"iou_{k}"] for k in (2, 3)] == ["", ""]
    trainer.step = 2
    trainer._trim_curves()
    assert [row["step"] for row in csv.DictReader((tmp_path / "curves.csv").open())] == ["1", "2"]


@pytest.mark.parametrize(("stage", "exits"), [(1, [2]), (2, [0, 1, 2])])
def test_the_cost_of_a_pair_is_what_pytorch_counts(stage, exits):
    config = preset("dytrack_small")
    with torch.device("meta"):
        model = DyTrack(config)
        crops = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 256, 256)
    with FlopCounterMode(display=False) as counter:
        sum(output.box.sum() + output.score.sum() for output in model(*crops, exits)).backward()
    assert training_flops(config, stage) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_impossible_training_configurations_are_refused():
    with pytest.raises(ValueError, match="joint, frozen_backbone, one_by_one"):
        TrainConfig(strategy="all")
    with pytest.raises(ValueError, match="1, 2"):
        TrainConfig(stage=3)


def test_the_train_command_end_to_end(shard, tmp_path):
    command = [sys.executable, "-m", "dytrack_ros.cli.train", "--data", str(shard), "--out", str(tmp_path)]
    command += ["--model", "dytrack_tiny", "--steps", "1", "--batch", "2", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "dytrack_tiny.json").read_text())
    assert card["steps"] == 1 and card["pairs"] == 2 and "--steps 1" in card["command"]
    assert load_weights(tmp_path / "dytrack_tiny.safetensors").exit_count == 3
    wrong = subprocess.run([*command, "--init", str(shard)], capture_output=True, text=True)
    assert wrong.returncode == 2 and "no safetensors file" in wrong.stderr


# --- weights ---------------------------------------------------------------------------------------------------------


def test_weights_survive_the_disk(tmp_path):
    model = random_model()
    path = save_weights(tmp_path / "m.safetensors", model, dtype=torch.float32)
    again = load_weights(path)
    assert again.config == model.config == load_config(path)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_narrower_search_region_and_back():
    model = random_model()
    narrow = with_search_region(model, 192, 3.0)
    assert narrow.config.search_tokens == 144 and narrow.embedding.search_position.shape == (1, 144, 48)
    assert narrow(torch.randn(1, 3, 128, 128), torch.randn(1, 3, 192, 192))[2].box.shape == (1, 4)
    assert torch.equal(narrow.blocks[5].attn.qkv.weight, model.blocks[5].attn.qkv.weight)
    smooth = torch.linspace(0, 1, 16).repeat(16)[None, :, None]
    there_and_back = resample_positions(resample_positions(smooth, 12), 16)
    assert (there_and_back - smooth).abs().max() < 0.03


def plain_vit(width=48, depth=12, patch=16, grid=14, layer_scale=False):
    """A state dict in the layout of timm and MAE; with LayerScale, DINOv2's."""
    torch.manual_seed(0)
    state = {
        "cls_token": torch.randn(1, 1, width),
        "pos_embed": torch.randn(1, 1 + grid * grid, width),
        "patch_embed.proj.weight": torch.randn(width, 3, patch, patch),
        "patch_embed.proj.bias": torch.randn(width),
        "norm.weight": torch.randn(width),
        "norm.bias": torch.randn(width),
    }
    for n in range(depth):
        for part, shape in [("attn.qkv", (3, 1)), ("attn.proj", (1, 1)), ("mlp.fc1", (4, 1)), ("mlp.fc2", (1, 4))]:
            state[f"blocks.{n}.{part}.weight"] = torch.randn(shape[0] * width, shape[1] * width)
            state[f"blocks.{n}.{part}.bias"] = torch.randn(shape[0] * width)
        for part in ("norm1", "norm2"):
            state[f"blocks.{n}.{part}.weight"], state[f"blocks.{n}.{part}.bias"] = (
                torch.randn(width),
                torch.randn(width),
            )
        if layer_scale:
            state[f"blocks.{n}.ls1.gamma"], state[f"blocks.{n}.ls2.gamma"] = torch.rand(width), torch.rand(width)
    return state


def test_mae_layout_with_its_wrapper_and_decoder(tmp_path):
    state = plain_vit()
    torch.save(
        {"model": {**state, "mask_token": torch.zeros(1, 1, 48), "decoder_pred.bias": torch.zeros(3)}},
        tmp_path / "mae.pth",
    )
    model = DyTrack(TINY)
    load_encoder(model, tmp_path / "mae.pth")
    assert torch.equal(model.blocks[7].attn.qkv.weight, state["blocks.7.attn.qkv.weight"])
    assert torch.equal(model.decisioners[0].adapter[1].mlp.fc1.weight, state["blocks.3.mlp.fc1.weight"])
    assert torch.equal(model.embedding.patch_embed.proj.weight, state["patch_embed.proj.weight"])
    assert model.embedding.template_position.shape == (1, 64, 48)


def test_dinov2_layout_with_layer_scale_and_patches_of_14(tmp_path):
    state = plain_vit(patch=14, grid=37, layer_scale=True)
    torch.save(state, tmp_path / "dinov2.pth")
    model = DyTrack(TINY)
    load_encoder(model, tmp_path / "dinov2.pth")
    reference = Block(48, 3)
    scaled = {n.removeprefix("blocks.4."): v for n, v in state.items() if n.startswith("blocks.4.") and ".ls" not in n}
    reference.load_state_dict(scaled)
    tokens = torch.randn(1, 5, 48)
    with torch.no_grad():
        middle = tokens + state["blocks.4.ls1.gamma"] * reference.attn(reference.norm1(tokens))
        expected = middle + state["blocks.4.ls2.gamma"] * reference.mlp(reference.norm2(middle))
        torch.testing.assert_close(model.blocks[4](tokens), expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(model.embedding.iou_token, state["cls_token"] + state["pos_embed"][:, :1])
    assert model.embedding.patch_embed.proj.weight.shape == (48, 3, 16, 16)


def test_a_resized_patch_keeps_its_token():
    """Smooth patches: the resampled projection of the resized patch equals the projection of the patch."""
    torch.manual_seed(0)
    weight = torch.randn(8, 3, 14, 14)
    patch = F.interpolate(torch.randn(1, 3, 4, 4), size=(14, 14), mode="bicubic")
    resized = F.interpolate(patch, size=(16, 16), mode="bicubic", antialias=True)
    before = torch.einsum("oihw,bihw->o", weight, patch)
    after = torch.einsum("oihw,bihw->o", resample_patch_embedding(weight, 16), resized)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-2)


def test_unknown_layouts_are_refused_with_the_expected_keys(tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"cls_token.*conv1\.weight"):
        load_encoder(DyTrack(TINY), tmp_path / "resnet.pth")
    others = {
        "attn.qkv.bias": {n: v for n, v in plain_vit().items() if n != "blocks.5.attn.qkv.bias"},
        "register_tokens": plain_vit() | {"register_tokens": torch.zeros(1, 4, 48)},
        "attn.q_norm.weight": plain_vit() | {"blocks.0.attn.q_norm.weight": torch.zeros(16)},
        "blocks.12.": plain_vit(depth=13),
        "square grid": plain_vit() | {"pos_embed": torch.zeros(1, 196, 48)},
    }
    for said, state in others.items():
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=said.replace(".", r"\.")):
            load_encoder(DyTrack(TINY), tmp_path / "other.pth")
    torch.save(plain_vit(width=32), tmp_path / "narrow.pth")
    with pytest.raises(ValueError, match="width 32"):
        load_encoder(DyTrack(TINY), tmp_path / "narrow.pth")


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_foreign_files_cannot_run_code(tmp_path, capsys):
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match="[Ww]eights"):
        load_encoder(DyTrack(TINY), tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


def test_configurations_round_trip():
    config = DyTrackConfig(width=96, heads=3, recycling="d")
    assert DyTrackConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="unknown configuration keys"):
        DyTrackConfig.from_dict({"widht": 3})
