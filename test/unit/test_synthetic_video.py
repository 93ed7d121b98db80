"""Cutting objects out, showing them before other scenes, and marking parts of them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from random_network import TINY
from test_training import PLAIN, make_shard

from dytrack_ros.cli import train as cli
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.data.labels import ImageTable, LabelledImage
from dytrack_ros.model.weights import load_config
from dytrack_ros.tracking.crop import CropWindow
from dytrack_ros.tracking.crop import with_background_mask as background_masked_by_tracker
from dytrack_ros.training.augmentation import AugmentationConfig, PairAugmentation, part_of
from dytrack_ros.training.crops import with_background_mask
from dytrack_ros.training.cutouts import MASK_PX, Cutouts, cut_out
from dytrack_ros.training.sampling import PairSampler
from dytrack_ros.training.sampling import PairStream
from dytrack_ros.training.cutouts import Layer, moved_within, scene_windows, turned_box, turns

RED, YELLOW = (210, 20, 20), (210, 210, 20)
GROUNDS = [(30, 160, 40), (40, 60, 190), (120, 120, 30), (90, 90, 90), (20, 150, 150), (160, 110, 60)]


class Ellipses:
    """Stills, each with an ellipse, red and yellow in turn, on a ground of its own, a little noisy."""

    def __init__(self, count=6, unreadable=()):
        rng = np.random.default_rng(2)
        self.unreadable, self.pictures, labels = unreadable, [], []
        for number in range(count):
            w, h = (int(side) for side in rng.integers(30, 60, 2))
            x, y = int(rng.integers(30, 150)), int(rng.integers(30, 100))
            picture = np.full((200, 260, 3), GROUNDS[number % len(GROUNDS)], np.uint8)
            colour = (RED, YELLOW)[number % 2]
            cv2.ellipse(picture, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, colour, cv2.FILLED)
            picture = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            self.pictures.append(picture)
            labels.append(LabelledImage(260, 200, np.float32([[x, y, w, h], [0, 0, 260, 200]]), f"source {number}"))
        self.images = ImageTable.of(labels)

    def pixels(self, number):
        if number in self.unreadable:
            raise OSError("it is gone")
        return self.pictures[number]


@pytest.fixture(scope="module")
def dataset():
    return Ellipses()


@pytest.fixture(scope="module")
def bank(dataset):
    return ImageBank.pack(dataset.pictures)


@pytest.fixture(scope="module")
def cutouts(dataset):
    return Cutouts.made(dataset, threads=2, progress=False)


def crops_of(dataset, bank, config, cutouts=None, model=TINY, size=48, seed=3):
    pairs = PairSampler(dataset, seed).batch(0, size)
    return pairs, PairAugmentation(bank, model, config, seed, cutouts)(pairs, 0)


def is_object(crops, numbers):
    """Where each crop shows the colour of the ellipse in the image of that number."""
    colours = torch.tensor([RED, YELLOW])[torch.as_tensor(numbers) % 2]
    return (crops - colours[:, :, None, None]).abs().amax(1) < 60


def bounds(mask):
    columns, rows = mask.any(0).nonzero()[:, 0], mask.any(1).nonzero()[:, 0]
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / mask.shape[-1]


# --- cutting out -----------------------------------------------------------------------------------------------------


def test_an_ellipse_is_cut_out_of_its_box(dataset):
    disc = cv2.ellipse(np.zeros((MASK_PX, MASK_PX), np.uint8), (32, 32), (32, 32), 0, 0, 360, 1, cv2.FILLED).astype(
        bool
    )
    for number in range(len(dataset.images)):
        mask = cut_out(dataset.pixels(number), dataset.images[number].boxes[0])
        assert mask.shape == disc.shape and mask.dtype == bool
        assert (mask & disc).sum() > 0.9 * (mask | disc).sum()


def test_what_cannot_be_told_from_its_surroundings_is_not_cut_out():
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    assert cut_out(noise, (60, 40, 40, 40)) is None
    uniform = np.full((120, 160, 3), 90, np.uint8)
    assert cut_out(uniform, (60, 40, 40, 40)) is None
    small = uniform.copy()
    small[55:65, 75:85] = RED  # a tenth of the box, in its middle
    assert cut_out(small, (60, 40, 40, 40)) is None


def test_a_box_across_the_border_does_no_harm(dataset):
    assert cut_out(dataset.pixels(0), (-10, -8, 30, 30)) is None
    assert cut_out(dataset.pixels(0), (250, 190, 8, 48)) is None


def test_all_trainable_objects_are_cut_out_and_the_unreadable_are_not(dataset, cutouts):
    assert cutouts.numbers.tolist() == [number if row % 2 == 0 else -1 for row in range(12) for number in [row // 2]]
    one_thread = Cutouts.made(dataset, threads=1, progress=False)
    assert torch.equal(one_thread.masks, cutouts.masks)
    damaged = Cutouts.made(Ellipses(unreadable=(1, 4)), threads=2, progress=False)
    assert damaged.numbers[::2].tolist() == [0, -1, 1, 2, -1, 3]
    assert torch.equal(damaged.masks, cutouts.masks[[0, 2, 3, 5]])


def test_cutouts_are_kept_for_the_data_that_they_are_of(dataset, cutouts, tmp_path):
    path = tmp_path / "cutouts.npz"
    cutouts.save(path, dataset)
    again = Cutouts.load(path, dataset)
    assert torch.equal(again.masks, cutouts.masks) and torch.equal(again.numbers, cutouts.numbers)
    with pytest.raises(ValueError, match="other data"):
        Cutouts.load(path, Ellipses(count=5))
    for content in (b"no zip file", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="holds no cutouts"):
            Cutouts.load(path, dataset)
    np.savez(path, something=np.zeros(3))
    with pytest.raises(ValueError, match="holds no cutouts"):
        Cutouts.load(path, dataset)


def test_alpha_lies_where_the_object_does(dataset, bank, cutouts):
    boxes = torch.from_numpy(dataset.images.boxes[::2])
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    side = boxes[:, 2:].amax(1, keepdim=True) * 2.5
    windows = torch.cat([centre - side / 2, side, side], 1)
    alpha = cutouts.alpha(torch.arange(0, 12, 2), boxes, windows, 128)
    for number, mask in enumerate(alpha[:, 0]):
        x, y, s = (float(value) for value in windows[number, :3])
        crop = CropWindow(x, y, s).cut(dataset.pictures[number][..., ::-1], 128)
        shown = is_object(torch.from_numpy(crop).permute(2, 0, 1)[None].int(), [number])[0]
        assert ((mask > 0.5) & shown).sum() > 0.9 * ((mask > 0.5) | shown).sum()
    whole = Cutouts.none(12).alpha(torch.arange(0, 12, 2), boxes, windows, 128)
    inside = boxes[:, 2:].prod(1) / side[:, 0] ** 2
    torch.testing.assert_close(whole.mean((1, 2, 3)), inside, atol=0.02, rtol=0)
    assert ((whole > 0.99) | (whole == 0)).float().mean() > 0.95, "without a mask all of the box"


# --- synthetic video -------------------------------------------------------------------------------------------------


def test_turning_a_layer_turns_the_object_about_its_centre():
    alpha = torch.zeros(1, 1, 100, 100)
    alpha[..., 40:50, 20:60] = 1  # 40 wide, 10 high, about (40, 45)
    layer = Layer(alpha.expand(1, 3, 100, 100) * 255, alpha)
    box = torch.tensor([[0.2, 0.4, 0.6, 0.5]])
    right_angle = turns(torch.tensor([torch.pi / 2]), torch.zeros(1))
    turned = layer.turned(torch.tensor([[0.40, 0.45]]), right_angle)
    new_box, seen = turned_box(layer, turned, box)
    assert seen.all()
    torch.testing.assert_close(new_box, torch.tensor([[0.35, 0.25, 0.45, 0.65]]), atol=0.011, rtol=0)
    assert turned.alpha.sum() == pytest.approx(400, rel=0.05)
    loose = torch.tensor([[0.1, 0.4, 0.6, 0.5]])
    torch.testing.assert_close(turned_box(layer, turned, loose)[0] - new_box, loose - box)
    gone = Layer(layer.crop, torch.zeros_like(alpha))
    assert not turned_box(layer, gone, box)[1].any()


def test_scenes_lie_within_their_images_and_move_with_the_camera(bank):
    image = torch.tensor([0, 3, 5]).repeat(40)
    draws = torch.rand(120, 5, generator=torch.Generator().manual_seed(0))
    windows = scene_windows(bank, image, draws[:, :2], draws[:, 2])
    moved = moved_within(windows, bank, image, 0.5, draws[:, 3:] * 2 - 1)
    for corners in (windows, moved):
        assert (corners[:, :2] >= -1e-3).all()
        assert (corners[:, :2] + corners[:, 2:] <= torch.tensor([260.0, 200]) + 1e-3).all()
    torch.testing.assert_close(moved[:, 2:], windows[:, 2:] / 2)
    assert (windows[:, 2] >= 0.4 * 200 - 1e-3).all() and (windows[:, 2] <= 200 + 1e-3).all()


def test_synthetic_pairs_show_the_object_before_the_neighbours_scene(dataset, bank, cutouts):
    config = replace(PLAIN, synthetic=1.0, centre_jitter=1.0, cut=0.0)
    pairs, crops = crops_of(dataset, bank, config, cutouts)
    beside_other = pairs.scene != np.roll(pairs.scene, 1)
    assert beside_other.sum() > 3
    neighbours = np.roll(pairs.search_image, 1)
    for member in np.flatnonzero(beside_other):
        for kind, crop in (("search", crops.search[member]), ("template", crops.template[member])):
            target, other = (is_object(crop[None], [images[member]])[0] for images in (pairs.search_image, neighbours))
            if kind == "search":
                assert (bounds(target) - crops.box[member]).abs().max() < 0.04, "the box is that of the turned object"
            ground = torch.tensor(GROUNDS[neighbours[member]])
            around = crop.flatten(1)[:, ~(target | other).flatten()]
            assert ((around - ground[:, None]).abs().amax(0) < 40).float().mean() > 0.9, "but for blended edges"
    _, plain = crops_of(dataset, bank, PLAIN, cutouts)
    _, without = crops_of(dataset, bank, replace(PLAIN, synthetic=1.0), Cutouts.none(12))
    assert torch.equal(plain.search, without.search), "nothing that was cut out, nothing synthetic"


def test_distractors_have_their_shape(dataset, bank, cutouts):
    config = replace(PLAIN, distractor=1.0)
    _, none = crops_of(dataset, bank, PLAIN, Cutouts.none(12))
    _, rectangles = crops_of(dataset, bank, config, Cutouts.none(12))
    _, shapes = crops_of(dataset, bank, config, cutouts)
    area = [((crops.search - none.search).abs().amax(1) > 1).float().mean() for crops in (rectangles, shapes)]
    assert 0.65 * area[0] < area[1] < 0.9 * area[0], "an ellipse is 0.785 of its box"


# --- parts and the background_mask ----------------------------------------------------------------------------------------------


def test_a_part_is_the_same_of_both_boxes():
    box = torch.tensor([[10.0, 20, 40, 80], [100, 50, 20, 40], [0, 0, 12, 12]])
    size, place = torch.tensor([[0.5, 0.25]] * 3), torch.tensor([[1.0, 0.5]] * 3)
    part = part_of(box, size, place)
    torch.testing.assert_close(part[:2], torch.tensor([[30.0, 50, 20, 20], [110, 65, 10, 10]]))
    assert torch.equal(part[2], box[2]), "too small to learn from"


@pytest.mark.parametrize("wrong", [{"synthetic": 60}, {"parts": -0.1}, {"distractors": -2}])
def test_numbers_that_are_no_probabilities_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} .* must"):
        AugmentationConfig(**wrong)


def test_an_absent_target_is_not_in_the_neighbours_synthetic_scene(dataset, bank, cutouts):
    """In a batch of two, the scene behind the neighbour's object is this one's."""
    config = replace(PLAIN, absent=1.0, synthetic=1.0)
    augmentation = PairAugmentation(bank, TINY, config, 3, cutouts)
    sampler = PairSampler(dataset, 3)
    for step in range(20):
        pairs = sampler.batch(step, 2)
        crops = augmentation(pairs, step)
        assert crops.present.all()


def test_nobody_intrudes_on_its_own_scene(dataset, bank):
    config = replace(PLAIN, distractor=1.0)
    pairs = PairSampler(dataset, 3).batch(0, 48)
    plain, intruded = (PairAugmentation(bank, TINY, c, 3)(pairs, 0) for c in (PLAIN, config))
    changed = (plain.search - intruded.search).abs().flatten(1).amax(1) > 1
    beside_other = torch.from_numpy(pairs.scene != np.roll(pairs.scene, 1))
    assert changed[beside_other].any() and not changed[~beside_other].any()


def test_synthetic_pairs_come_from_streams_too(dataset, cutouts):
    augmentation = PairAugmentation(ImageBank.pack([]), TINY, replace(PLAIN, synthetic=1.0, parts=0.5), 3, cutouts)
    stream = PairStream(dataset, PairSampler(dataset, 3), augmentation.views(), "cpu", threads=2)
    pairs = stream.batch(0, 24)
    stream.close()
    whole = PairSampler(dataset, 3).batch(0, 24)
    assert np.array_equal(pairs.template_object, whole.template_object)
    assert np.array_equal(pairs.search_object, whole.search_object)
    crops = augmentation(pairs, 0)
    numbers = whole.search_object // 2
    middle = ((crops.box[:, :2] + crops.box[:, 2:]) / 2 * 256).long().clamp(0, 255)
    hit = is_object(crops.search, numbers)[torch.arange(24), middle[:, 1], middle[:, 0]]
    assert hit.float().mean() > 0.8


def test_parts_are_targets(dataset, bank):
    _, whole = crops_of(dataset, bank, replace(PLAIN, scale_jitter=0.0, aspect_jitter=0.0))
    pairs, parts = crops_of(dataset, bank, replace(PLAIN, scale_jitter=0.0, aspect_jitter=0.0, parts=1.0))

    def aspects(crops):
        sides = crops.box[:, 2:] - crops.box[:, :2]
        return torch.log(sides[:, 0] / sides[:, 1])

    assert not torch.allclose(aspects(whole), aspects(parts), atol=0.05)
    middle = ((parts.box[:, :2] + parts.box[:, 2:]) / 2 * 256).long().clamp(0, 255)
    hit = is_object(parts.search, pairs.search_image)[torch.arange(len(middle)), middle[:, 1], middle[:, 0]]
    assert hit.float().mean() > 0.8, "parts lie on the object, but for its corners"


def test_the_background_mask_of_training_is_that_of_tracking():
    rng = np.random.default_rng(1)
    crop = rng.integers(0, 256, (128, 128, 3), np.uint8)
    for box in ((0.25, 0.25, 0.75, 0.75), (0.3, 0.11, 0.713, 0.9), (-0.2, 0.4, 0.5, 1.3)):
        tracked = background_masked_by_tracker(crop, np.array(box), 0.4)
        trained = with_background_mask(torch.from_numpy(crop).permute(2, 0, 1)[None].float(), torch.tensor([box]), 0.4)
        assert np.abs(tracked - trained[0].permute(1, 2, 0).numpy()).max() <= 0.51, "but for rounding"
    inside = background_masked_by_tracker(crop, np.array((0.25, 0.25, 0.75, 0.75)), 0.4)
    assert np.array_equal(inside[32:96, 32:96], crop[32:96, 32:96])
    assert np.abs(inside[0, 0] - (0.6 * crop[0, 0] + 0.4 * np.array([255, 0, 255]))).max() <= 0.51
    assert background_masked_by_tracker(crop, np.array((0.25, 0.25, 0.75, 0.75)), 0.0) is crop


def test_templates_are_background_masked_in_training_if_the_network_wants_it(dataset, bank):
    background_mask = replace(TINY, background_mask=0.5)
    pairs, plain = crops_of(dataset, bank, PLAIN)
    _, marked = crops_of(dataset, bank, PLAIN, model=background_mask)
    assert torch.equal(plain.search, marked.search)
    same = (plain.template - marked.template).abs().amax(1) < 1
    target = is_object(plain.template, pairs.template_image)
    assert same[target].float().mean() > 0.95, "not the target, but for its outermost pixels"
    assert same.float().mean() < 0.5
    corner = 0.5 * plain.template[..., 2, 2] + 0.5 * torch.tensor([255.0, 0, 255])
    torch.testing.assert_close(marked.template[..., 2, 2], corner)


def test_train_makes_cutouts_once_and_keeps_the_background_mask(tmp_path, capsys):
    make_shard(tmp_path / "train.tar")
    command = [
        "--data", str(tmp_path / "train.tar"), "--out", str(tmp_path / "run"), "--model", "dytrack_tiny", "--steps", "1",
        "--batch", "2", "--size", "64", "--distillation", "off", "--amp", "off",
        "--synthetic", "0.5", "--parts", "0.5", "--distractors", "2",
    ]  # fmt: skip
    assert cli.main([*command, "--background-mask", "0.3"]) == 0
    kept = tmp_path / "run" / "cutouts.npz"
    made_at = kept.stat().st_mtime_ns
    weights = tmp_path / "run" / "dytrack_tiny.safetensors"
    assert load_config(weights).background_mask == 0.3
    again = [*command, "--init", str(weights), "--cutouts", str(kept), "--out", str(tmp_path / "next")]
    assert cli.main(again) == 0
    assert kept.stat().st_mtime_ns == made_at and not (tmp_path / "next" / "cutouts.npz").exists()
    assert load_config(tmp_path / "next" / "dytrack_tiny.safetensors").background_mask == 0.3
    kept.write_bytes(b"")
    assert cli.main(again) == 2
    assert "delete it" in capsys.readouterr().err


def test_a_run_is_not_resumed_with_another_background_mask(tmp_path, capsys):
    make_shard(tmp_path / "train.tar")
    command = [
        "--data",
        str(tmp_path / "train.tar"),
        "--out",
        str(tmp_path / "run"),
        "--model",
        "dytrack_tiny",
        "--batch",
        "2",
    ]
    command += ["--size", "64", "--distillation", "off", "--amp", "off", "--resume"]
    assert cli.main([*command, "--steps", "1", "--background-mask", "0.3"]) == 0
    assert cli.main([*command, "--steps", "2"]) == 2
    assert "background_mask=0.3" in capsys.readouterr().err
    assert cli.main([*command, "--steps", "2", "--background-mask", "0.3", "--parts", "0.5"]) == 2
    assert "parts=0.0" in capsys.readouterr().err
