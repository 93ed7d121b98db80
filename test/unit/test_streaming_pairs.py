"""Training from the disk: windows of images in small banks, read ahead; and the command that does so."""

import csv
import json

import numpy as np
import pytest
import torch
from random_network import MINIATURE, TINY
from training_layouts import make_coco, make_lasot

from dytrack_ros.cli import train as cli
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.data.labels import LabelledImage
from dytrack_ros.model.presets import PRESETS
from dytrack_ros.training.augmentation import AugmentationConfig, PairAugmentation
from dytrack_ros.training.sampling import PairSampler
from dytrack_ros.training.sampling import PairStream, source_window, CropView

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


class Pictures:
    """Stills of smooth noise with one red object each, as a data set; those in ``broken`` cannot be read."""

    def __init__(self, boxes, size=(640, 480), broken=()):
        self.images = [LabelledImage(*size, np.array([box], np.float32), "made") for box in boxes]
        self.broken = set(broken)

    def pixels(self, number):
        if number in self.broken:
            raise OSError(f"picture {number} is broken")
        image = self.images[number]
        rng = np.random.default_rng(number)
        pixels = rng.integers(60, 120, (image.height, image.width, 3), np.uint8)
        x, y, w, h = (int(value) for value in image.boxes[0])
        pixels[y : y + h, x : x + w] = (220, 10, 10)
        return pixels


SMALL = [(310, 200, 20, 24), (20, 30, 18, 18), (600, 440, 30, 20), (100, 470, 16, 10), (333, 7, 22, 40)]


@pytest.fixture
def streamed():
    """Makes a stream, and ends its threads afterwards."""
    streams = []

    def make(dataset, config=PLAIN, seed=0, **options):
        augmentation = PairAugmentation(ImageBank.pack([]), TINY, config, seed)
        stream = PairStream(dataset, PairSampler(dataset, seed), augmentation.views(), "cpu", threads=2, **options)
        streams.append(stream)
        return stream, augmentation

    yield make
    for stream in streams:
        stream.close()


def test_streamed_crops_are_those_of_the_whole_images(streamed):
    """All that the augmentation does is the same, but for the mosaic, which shows a part of the neighbour's image."""
    dataset = Pictures(SMALL)
    config = AugmentationConfig(mosaic=0, absent=0.3)
    stream, augmentation = streamed(dataset, config, seed=6)
    whole = PairAugmentation(ImageBank.load(dataset, progress=False), TINY, config, 6)
    for step in range(2):
        pairs = stream.batch(step, 8)
        assert len(pairs.bank.pixels) < 16 * 640 * 480 / 4, "windows, not whole images"
        crops = augmentation(pairs, step)
        expected = whole(PairSampler(dataset, 6).batch(step, 8), step)
        assert torch.equal(crops.present, expected.present)
        for name in ("template", "search", "box"):
            torch.testing.assert_close(getattr(crops, name), getattr(expected, name), atol=0.3, rtol=0)


def test_large_targets_are_shrunk_to_what_crops_show(streamed):
    dataset = Pictures([(200, 150, 500, 380)], size=(1200, 900))
    stream, augmentation = streamed(dataset, seed=2)
    pairs = stream.batch(0, 4)
    sides = np.sqrt(pairs.search_box[:, 2:].prod(axis=1))
    assert np.allclose(sides, augmentation.views()[1].side_px, rtol=0.01)
    crops = augmentation(pairs, 0)
    for search, box in zip(crops.search, crops.box, strict=True):
        red = search[0] > search[1] + 100
        columns, rows = red.any(0).nonzero()[:, 0], red.any(1).nonzero()[:, 0]
        found = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / TINY.search_size
        assert (found - box).abs().max() < 4 / TINY.search_size


def test_a_window_of_a_target_outside_the_image_is_not_empty():
    image = np.zeros((40, 50, 3), np.uint8)
    for box in ((-300, -300, 10, 10), (400, 500, 10, 10)):
        window, _ = source_window(image, box, CropView(reach=3, side_px=64))
        assert window.size > 0


def test_steps_may_come_in_any_order(streamed):
    dataset = Pictures(SMALL)
    stream, _ = streamed(dataset, seed=4, ahead=1)
    in_turn = [stream.batch(step, 3) for step in range(4)]
    for step in (2, 0, 3):
        again = stream.batch(step, 3)
        assert np.array_equal(again.search_box, in_turn[step].search_box)
        assert torch.equal(again.bank.pixels, in_turn[step].bank.pixels)
    part = stream.batch(1, 3, part=1, parts=2)
    assert np.array_equal(part.search_box, in_turn[1].search_box[1::2])


def test_pairs_of_unreadable_images_are_replaced_and_counted(streamed):
    dataset = Pictures(SMALL, broken=[1, 3])
    stream, _ = streamed(dataset)
    pairs = stream.batch(0, 40)
    assert stream.unreadable == {1: "picture 1 is broken", 3: "picture 3 is broken"}
    assert len(pairs.search_image) == 40 and set(pairs.scene) == {0, 2, 4}
    assert PairAugmentation(ImageBank.pack([]), MINIATURE)(pairs, 0).search.shape == (40, 3, 64, 64)


def test_a_batch_of_which_nothing_can_be_read_ends_the_run(streamed):
    stream, _ = streamed(Pictures(SMALL, broken=range(5)))
    with pytest.raises(OSError, match="none of 4 pairs can be read: picture . is broken"):
        stream.batch(0, 4)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def train(tmp_path, monkeypatch):
    """The command ``train`` on miniature networks; returns its exit code, and its curves."""
    monkeypatch.setitem(PRESETS, "dytrack_tiny", MINIATURE)

    def run(*argv):
        base = [
            "--out",
            str(tmp_path / "run"),
            "--model",
            "dytrack_tiny",
            "--device",
            "cpu",
            "--batch",
            "2",
            "--threads",
            "1",
        ]
        return cli.main([*base, *argv])

    return run


def test_training_straight_from_public_data(train, tmp_path, capsys):
    lasot, coco = make_lasot(tmp_path / "lasot"), make_coco(tmp_path / "coco")
    (coco / "train2017" / "000000000010.jpg").write_bytes(b"no jpeg")
    data = ["--data", f"lasot:{lasot}", f"coco:{coco}", "--sampling", "paper", "--max-gap", "2"]
    assert train(*data, "--epochs", "0.00033", "--reader-threads", "1") == 0
    card = json.loads((tmp_path / "run" / "dytrack_tiny.json").read_text())
    assert card["data"] == ["coco", "lasot"] and card["pairs"] == 20 and card["unreadable_images"] == 1
    rows = list(csv.DictReader((tmp_path / "run" / "curves.csv").open()))
    assert rows[-1]["step"] == "10"
    assert "unreadable images, whose pairs were replaced: 1 (" in capsys.readouterr().out


def test_data_that_cannot_be_used_is_said(train, tmp_path, capsys):
    assert train("--data", f"lasot:{tmp_path}") == 2
    assert "testing_set.txt" in capsys.readouterr().err
    assert train("--data", "imagenet:/data") == 2
    assert "NAME:FOLDER" in capsys.readouterr().err
