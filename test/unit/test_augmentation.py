"""Crops with all their augmentation: jitter, followed motion, pasted objects, cut-outs, synthetic video, masks."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from random_network import MINIATURE
from test_sampling import PLAIN, Labels
from training_layouts import make_shard

from dytrack_ros.data.labels import ImageTable, LabelledImage
from dytrack_ros.data.shards import ShardDataset
from dytrack_ros.tracking.crop import CropWindow
from dytrack_ros.tracking.crop import with_background_mask as masked_by_tracker
from dytrack_ros.training.augmentation import AugmentationConfig, PairAugmentation, part_of
from dytrack_ros.training.crops import ImageBank, with_background_mask
from dytrack_ros.training.cutouts import (
    MASK_PX,
    Cutouts,
    Layer,
    cut_out,
    moved_within,
    scene_windows,
    turned_box,
    turns,
)
from dytrack_ros.training.sampling import PairSampler, PairStream

SMALL = replace(MINIATURE, template_size=64, search_size=128)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return ShardDataset([make_shard(tmp_path_factory.mktemp("shards") / "train-000.tar")])


@pytest.fixture(scope="module")
def made_bank(made):
    return ImageBank.load(made, progress=False)


def test_the_box_is_where_the_target_is_after_all_jitter_and_flips(made, made_bank):
    augment = PairAugmentation(made_bank, SMALL, PLAIN, seed=5)
    pairs = PairSampler(made, seed=5).batch(0, 32)
    crops = augment(pairs, 0)
    assert crops.template.shape == (32, 3, 64, 64) and crops.search.shape == (32, 3, 128, 128)
    for search, box in zip(crops.search, crops.box, strict=True):
        red = (search[0] > search[1] + 60).float()
        columns, rows = red.max(0).values.nonzero()[:, 0], red.max(1).values.nonzero()[:, 0]
        found = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 128
        assert (found - box).abs().max() < 3 / 128, "an image pixel is up to 2 crop pixels wide"


def test_augmentation_is_reproducible_and_varied(made, made_bank):
    augment = PairAugmentation(made_bank, SMALL, seed=1)
    pairs = PairSampler(made, seed=1).batch(0, 4)
    first, again, other = augment(pairs, 0), augment(pairs, 0), augment(pairs, 1)
    assert torch.equal(first.search, again.search) and torch.equal(first.box, again.box)
    assert not torch.allclose(first.search, other.search)
    assert first.search.min() >= 0 and first.search.max() <= 255
    assert (first.box[:, 2:] > first.box[:, :2]).all()


def test_mosaic_fills_the_outside_with_another_image(made, made_bank):
    pairs = PairSampler(made, seed=2).batch(0, 16)
    share_black = []
    for mosaic in (1, 0):
        config = AugmentationConfig(scale_jitter=0, mosaic=mosaic, noise=0)
        search = PairAugmentation(made_bank, SMALL, config, seed=2)(pairs, 0).search
        share_black.append((search.sum(1) == 0).float().mean())
    assert share_black[0] < 0.02 < share_black[1]


def test_distractors_stand_beside_the_target_or_before_a_part_of_it(made, made_bank):
    pairs = PairSampler(made, seed=3).batch(0, 32)
    without = PairAugmentation(made_bank, SMALL, PLAIN, seed=3)(pairs, 0)
    intruded = PairAugmentation(made_bank, SMALL, replace(PLAIN, distractor=1), seed=3)(pairs, 0)
    assert torch.equal(without.box, intruded.box)
    changed = ((without.search - intruded.search).abs() > 0.01).any(
        1
    )  # the mean, which contrast is taken around, moves too
    shares = changed.flatten(1).float().mean(1)
    assert (shares > 0).sum() > 16 and shares.max() < 0.1, "a side of 0.1 to 0.3 of the search region"
    rows, columns = (((without.box[:, i] + without.box[:, i + 2]) * 64).long().clamp(0, 127) for i in (1, 0))
    assert not changed[torch.arange(32), rows, columns].any(), "never before the target's centre"
    same_scene = pairs.scene == np.roll(pairs.scene, 1)
    assert same_scene.any() and not (shares[same_scene] > 0).any(), "nor on its own scene"


def test_absent_targets_are_another_scenes(made, made_bank):
    sampler = PairSampler(made, seed=4)
    augmentation = PairAugmentation(made_bank, SMALL, AugmentationConfig(absent=1.0, noise=0), seed=4)
    pairs = sampler.batch(0, 16)
    crops = augmentation(pairs, 0)
    same_scene = torch.from_numpy(pairs.scene == np.roll(pairs.scene, 1))
    assert torch.equal(crops.present, same_scene)
    with_target = PairAugmentation(made_bank, SMALL, AugmentationConfig(noise=0), seed=4)(pairs, 0)
    assert with_target.present.all()
    assert torch.equal(crops.search[~crops.present], with_target.search.roll(1, 0)[~crops.present])
    assert torch.equal(crops.search[crops.present], with_target.search[crops.present])


# --- followed targets, look-alikes -----------------------------------------------------------------------------------

STEADY = replace(PLAIN, flip=0.0, template_centre_jitter=0.0, template_scale_jitter=0.0, aspect_jitter=0.0)


def one_target(config, pairs=400, box=(134, 134, 32, 32)):
    """Crops of a red square on black; the size of the search region is 4 target sides exactly."""
    image = np.full((300, 300, 3), 60, np.uint8)
    image[134:166, 134:166] = (180, 20, 20)
    sampler = PairSampler(Labels(LabelledImage(300, 300, np.float32([box]), "one")), 2)
    return PairAugmentation(ImageBank.pack([image]), MINIATURE, config, seed=2)(sampler.batch(0, pairs), 0)


def jitter_of(crops):
    """Shift of the search centre in target sides (B, 2), and logarithm of its scale (B,)."""
    shift = (0.5 - (crops.box[:, :2] + crops.box[:, 2:]) / 2) * MINIATURE.search_factor
    sides = crops.box[:, 2:] - crops.box[:, :2]
    return shift, -torch.log(sides.prod(1).sqrt() * MINIATURE.search_factor)


def test_followed_targets_are_where_a_tracker_looks():
    """Laplace: of the mean absolute value given, a half below 0.69 times that, a twentieth above three times."""
    shift, scale = jitter_of(one_target(replace(STEADY, motion=1.0)))
    for values, spread in ((shift.flatten(), 0.12), (scale, 0.05)):
        assert values.abs().mean() == pytest.approx(spread, rel=0.15)
        assert values.abs().median() == pytest.approx(spread * np.log(2), rel=0.25)
        assert 0.02 < (values.abs() > 3 * spread).float().mean() < 0.09
        assert abs(values.mean()) < 0.15 * spread
    shift, scale = jitter_of(one_target(replace(STEADY, motion=1.0, motion_spread=0.2, motion_scale=0.1)))
    assert shift.abs().mean() == pytest.approx(0.2, rel=0.15) and scale.abs().mean() == pytest.approx(0.1, rel=0.15)


def test_a_share_of_the_targets_is_followed():
    near = [
        float((jitter_of(one_target(replace(STEADY, motion=share)))[0].abs() < 0.3).all(1).float().mean())
        for share in (0.0, 0.5, 1.0)
    ]
    assert near == pytest.approx([0.04, 0.44, 0.84], abs=0.07), "the rest is uniform within 1.5 target sides"


def test_look_alikes_are_tinted_and_farther_from_the_centre_than_the_target():
    for motion, share in ((1.0, 1.0), (1.0, 0.3), (0.0, 1.0)):
        config = replace(STEADY, motion=motion)
        without, crops = one_target(config), one_target(replace(config, look_alikes=share))
        assert torch.equal(crops.box, without.box) and torch.equal(crops.template, without.template)
        changed = (crops.search - without.search).abs().amax(1) > 1
        shown = changed.flatten(1).any(1)
        if motion:
            assert shown.float().mean() == pytest.approx(share, abs=0.08)
        steps = (torch.arange(64) + 0.5) / 32 - 1
        weight = changed[shown].float()
        weight /= weight.sum((1, 2), keepdim=True)
        place = torch.stack([(weight.sum(1) * steps).sum(1), (weight.sum(2) * steps).sum(1)], 1)
        target = ((without.box[:, :2] + without.box[:, 2:]) - 1)[shown]
        # A copy that reaches beyond the border seems nearer than it is; a side is 0.5 here.
        assert (place.norm(dim=1) > target.norm(dim=1) + 0.1).all()
        middle = (without.box[:, :2] + without.box[:, 2:]) / 2
        x, y = (middle * 64).long().clamp(0, 63).T
        assert not changed[torch.arange(len(x)), y, x].any(), "never before the target's centre"
    red = torch.stack([(c * m).sum((1, 2)) / m.sum() for c, m in zip(crops.search[shown], changed[shown], strict=True)])
    assert (red / torch.tensor([180.0, 20, 20])).std(0) == pytest.approx([0.12] * 3, rel=0.35), "each channel's gain"


def test_entering_targets_are_cut_off_by_the_images_border():
    crops = one_target(replace(STEADY, motion=1.0, entering=0.6), pairs=600)
    (side, template_gap, template_share), (search_side, gap, share) = map(border, (crops.template, crops.search))
    enters = side >= 0
    assert enters.float().mean() == pytest.approx(0.6, abs=0.06)
    counts = torch.bincount(side[enters], minlength=4) / enters.sum()
    assert counts.tolist() == pytest.approx([0.375, 0.125, 0.375, 0.125], abs=0.08), "left, top, right, bottom"
    assert template_gap[enters].abs().max() < 0.1 and template_share[~enters].min() > 0.9
    assert template_share[enters].min() > 0.2 and template_share[enters].mean() == pytest.approx(0.575, abs=0.06)

    assert (search_side[~enters] == -1).all()
    is_cut = enters & (share < 0.9)
    assert is_cut.sum() / enters.sum() == pytest.approx(0.45, abs=0.08), "a half; of some nearly all is visible"
    assert gap[is_cut].abs().max() < 0.1 and (search_side[is_cut] == side[is_cut]).all()
    assert (share > template_share - 0.15)[is_cut].all(), "no less is visible than in the template"
    beside = enters & (gap > 0.2)
    assert (search_side[beside] == side[beside]).all() and (share[beside] > 0.9).all()
    assert gap[beside].mean() == pytest.approx(0.75, abs=0.15) and gap[beside].max() < 1.6
    target = torch.stack([bounds(is_red(search)) for search in crops.search])
    assert (target - crops.box).abs().max() < 2 / 64, "the box is the visible part"


def is_red(crop):
    return crop[0] > crop[1] + 60


def border(crops):
    """The black border of crops of the red square: its side (left, top, right, bottom; -1: none), its distance from the
    square in the square's longer sides, and the square's shorter side over its longer one."""
    sides, gaps, shares = [], [], []
    for crop in crops:
        x1, y1, x2, y2 = bounds(is_red(crop)).tolist()
        black = crop.amax(0) == 0
        lines = [black.all(0), black.all(1)]  # columns, rows
        found = [(side, line) for side, line in enumerate((*lines, *(line.flip(0) for line in lines))) if line[0]]
        assert len(found) <= 1, "one border at most"
        side, line = found[0] if found else (-1, torch.zeros(1))
        width, height = x2 - x1, y2 - y1
        distance = (x1, y1, 1 - x2, 1 - y2)[side] - line.sum().item() / len(black) if found else 0.0
        sides.append(side)
        gaps.append(distance / max(width, height))
        shares.append(min(width, height) / max(width, height))
    return torch.tensor(sides), torch.tensor(gaps), torch.tensor(shares)


# --- cut-outs ---------------------------------------------------------------------------------------------------------

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


def crops_of(dataset, bank, config, cutouts=None, model=SMALL, size=24, seed=3):
    pairs = PairSampler(dataset, seed).batch(0, size)
    return pairs, PairAugmentation(bank, model, config, seed, cutouts)(pairs, 0)


def is_object(crops, numbers):
    """Where each crop shows the colour of the ellipse in the image of that number."""
    colours = torch.tensor([RED, YELLOW])[torch.as_tensor(numbers) % 2]
    return (crops - colours[:, :, None, None]).abs().amax(1) < 60


def bounds(mask):
    columns, rows = mask.any(0).nonzero()[:, 0], mask.any(1).nonzero()[:, 0]
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / mask.shape[-1]


def test_an_ellipse_is_cut_out_of_its_box(dataset):
    disc = cv2.ellipse(np.zeros((MASK_PX, MASK_PX), np.uint8), (32, 32), (32, 32), 0, 0, 360, 1, cv2.FILLED) > 0
    for number in range(len(dataset.images)):
        mask = cut_out(dataset.pixels(number), dataset.images[number].boxes[0])
        assert mask.shape == disc.shape and mask.dtype == bool
        assert (mask & disc).sum() > 0.9 * (mask | disc).sum()


def test_what_cannot_be_told_from_its_surroundings_is_not_cut_out():
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    assert cut_out(noise, (60, 40, 40, 40)) is None
    small = np.full((120, 160, 3), 90, np.uint8)
    small[55:65, 75:85] = RED  # a tenth of the box, in its middle
    assert cut_out(small, (60, 40, 40, 40)) is None
    across_the_border = Ellipses(1).pixels(0), (-10, -8, 30, 30)
    assert cut_out(*across_the_border) is None


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
    path.write_bytes(b"no zip file")
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


# --- synthetic video, parts, masks ------------------------------------------------------------------------------------


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


def test_a_part_is_the_same_of_both_boxes():
    box = torch.tensor([[10.0, 20, 40, 80], [100, 50, 20, 40], [0, 0, 12, 12]])
    size, place = torch.tensor([[0.5, 0.25]] * 3), torch.tensor([[1.0, 0.5]] * 3)
    part = part_of(box, size, place)
    torch.testing.assert_close(part[:2], torch.tensor([[30.0, 50, 20, 20], [110, 65, 10, 10]]))
    assert torch.equal(part[2], box[2]), "too small to learn from"


@pytest.mark.parametrize("wrong", [{"synthetic": 60}, {"parts": -0.1}, {"distractors": -2}, {"motion": 2}, {"flip": 3}])
def test_strengths_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} .* must"):
        AugmentationConfig(**wrong)


def test_an_absent_target_is_not_in_the_neighbours_synthetic_scene(dataset, bank, cutouts):
    """In a batch of two, the scene behind the neighbour's object is this one's."""
    config = replace(PLAIN, absent=1.0, synthetic=1.0)
    augmentation = PairAugmentation(bank, SMALL, config, 3, cutouts)
    sampler = PairSampler(dataset, 3)
    for step in range(20):
        pairs = sampler.batch(step, 2)
        crops = augmentation(pairs, step)
        assert crops.present.all()


def test_synthetic_pairs_come_from_streams_too(dataset, cutouts):
    augmentation = PairAugmentation(ImageBank.pack([]), SMALL, replace(PLAIN, synthetic=1.0, parts=0.5), 3, cutouts)
    stream = PairStream(dataset, PairSampler(dataset, 3), augmentation.views(), "cpu", threads=2)
    pairs = stream.batch(0, 24)
    stream.close()
    crops, numbers = augmentation(pairs, 0), pairs.search_object // 2
    middle = ((crops.box[:, :2] + crops.box[:, 2:]) / 2 * 128).long().clamp(0, 127)
    hit = is_object(crops.search, numbers)[torch.arange(24), middle[:, 1], middle[:, 0]]
    assert hit.float().mean() > 0.8


def test_parts_are_targets(dataset, bank):
    _, whole = crops_of(dataset, bank, replace(PLAIN, scale_jitter=0.0, aspect_jitter=0.0))
    pairs, parts = crops_of(dataset, bank, replace(PLAIN, scale_jitter=0.0, aspect_jitter=0.0, parts=1.0))

    def aspects(crops):
        sides = crops.box[:, 2:] - crops.box[:, :2]
        return torch.log(sides[:, 0] / sides[:, 1])

    assert not torch.allclose(aspects(whole), aspects(parts), atol=0.05)
    middle = ((parts.box[:, :2] + parts.box[:, 2:]) / 2 * 128).long().clamp(0, 127)
    hit = is_object(parts.search, pairs.search_image)[torch.arange(len(middle)), middle[:, 1], middle[:, 0]]
    assert hit.float().mean() > 0.8, "parts lie on the object, but for its corners"


def test_the_background_mask_of_training_is_that_of_tracking():
    rng = np.random.default_rng(1)
    crop = rng.integers(0, 256, (128, 128, 3), np.uint8)
    for box in ((0.25, 0.25, 0.75, 0.75), (0.3, 0.11, 0.713, 0.9), (-0.2, 0.4, 0.5, 1.3)):
        tracked = masked_by_tracker(crop, np.array(box), 0.4)
        trained = with_background_mask(torch.from_numpy(crop).permute(2, 0, 1)[None].float(), torch.tensor([box]), 0.4)
        assert np.abs(tracked - trained[0].permute(1, 2, 0).numpy()).max() <= 0.51, "but for rounding"
    inside = masked_by_tracker(crop, np.array((0.25, 0.25, 0.75, 0.75)), 0.4)
    assert np.array_equal(inside[32:96, 32:96], crop[32:96, 32:96])
    assert np.abs(inside[0, 0] - (0.6 * crop[0, 0] + 0.4 * np.array([255, 0, 255]))).max() <= 0.51


def test_templates_are_background_masked_in_training_if_the_network_wants_it(dataset, bank):
    _, plain = crops_of(dataset, bank, PLAIN)
    _, marked = crops_of(dataset, bank, PLAIN, model=replace(SMALL, background_mask=0.5))
    assert torch.equal(plain.search, marked.search)
    corner = 0.5 * plain.template[..., 2, 2] + 0.5 * torch.tensor([255.0, 0, 255])
    torch.testing.assert_close(marked.template[..., 2, 2], corner)
    assert torch.equal(plain.template[..., 32, 32], marked.template[..., 32, 32]), "the target is not covered"
