"""Which pairs are drawn, and the stream that reads their pixels from the disk."""

import numpy as np
import pytest
import torch
from random_network import MINIATURE, TINY
from training_layouts import make_coco, make_got10k

from dytrack_ros.data.labels import LabelledImage
from dytrack_ros.data.registry import open_data
from dytrack_ros.training.augmentation import AugmentationConfig, PairAugmentation
from dytrack_ros.training.crops import ImageBank
from dytrack_ros.training.sampling import CropView, PairSampler, PairStream, SamplingConfig, source_window


class Labels:
    """A data set of labels alone."""

    def __init__(self, *images):
        self.images = images


def film(name, frames, source="film", **labels):
    return [LabelledImage(160, 120, np.float32([[40, 50, 24, 20]]), source, name, frame, **labels) for frame in frames]


def stills(count, source="photos", boxes=1, **labels):
    box = np.float32([[20 + 30 * number, 30, 24, 20] for number in range(boxes)])
    return [LabelledImage(160, 120, box, source, **labels) for _ in range(count)]


def test_pairs_keep_their_gap_and_are_reproducible():
    dataset = Labels(*stills(6), *film("f", range(0, 480, 60)))
    sampler = PairSampler(dataset, 3, SamplingConfig(video_share=0.5))
    batch = sampler.batch(7, 200)
    assert np.array_equal(batch.search_image, sampler.batch(7, 200).search_image)
    assert not np.array_equal(batch.search_image, sampler.batch(8, 200).search_image)
    pairs = list(zip(batch.template_image, batch.search_image, strict=True))
    videos = [(dataset.images[a].frame, dataset.images[b].frame) for a, b in pairs if dataset.images[a].video]
    assert 70 < len(videos) < 130
    assert {abs(a - b) for a, b in videos} == {0, 60}, "at most 100 frames apart"
    assert all(a == b for a, b in pairs if not dataset.images[a].video)
    parts = [sampler.batch(4, 9, part, 3) for part in range(3)]
    for name in ("template_image", "template_box", "search_image", "search_box", "scene"):
        assert np.array_equal(getattr(sampler.batch(4, 9), name)[1::3], getattr(parts[1], name)), "parts of a batch"
    assert sum(len(part.scene) for part in parts) == 9


def test_the_papers_sampling_draws_sources_alike(tmp_path):
    data = open_data([f"coco:{make_coco(tmp_path / 'coco')}", f"got10k:{make_got10k(tmp_path / 'got10k')}"])
    batch = PairSampler(data, 1, SamplingConfig(max_gap=2, sampling="paper")).batch(0, 600)
    images = [(data.images[a], data.images[b]) for a, b in zip(batch.template_image, batch.search_image, strict=True)]
    assert 240 < sum(a.source == "coco" for a, _ in images) < 360
    assert all(a.video == b.video for a, b in images)
    assert {abs(a.frame - b.frame) for a, b in images} == {0, 1, 2}
    coco = [tuple(box) for (a, _), box in zip(images, batch.template_box.tolist(), strict=True) if a.source == "coco"]
    assert len({*coco}) == 2 and 0.55 < coco.count((20, 30, 40, 30)) / len(coco) < 0.78, "all three objects alike"


def test_crowds_are_drawn_as_often_as_asked():
    """One of 20 stills and one of 6 videos have neighbours, labelled or as other boxes."""
    photos = [*stills(18), *stills(1, boxes=2), *stills(1, boxes=2, neighbours=0)]
    films = [image for name in "abcde" for image in film(name, range(4))] + film("f", range(4), neighbours=2)
    dataset = Labels(*photos, *films)

    def crowded(config):
        images = [dataset.images[n] for n in PairSampler(dataset, 5, config).batch(0, 1000).search_image]
        found = [image.video for image in images if image.neighbour_count]
        return len(found), sum(image.video is not None for image in images)

    share, videos = crowded(SamplingConfig(crowd=0.5))
    usual, _ = crowded(SamplingConfig())
    assert 60 < usual < 140, "a ninth of the videos and a twentieth of the stills, about"
    assert 500 < share < 610 and 340 < videos < 460, "half of the pairs and some of the others; as many videos"
    assert crowded(SamplingConfig(crowd=1.0))[0] == 1000
    with pytest.raises(ValueError, match="no target of the data has labelled neighbours"):
        PairSampler(Labels(*stills(3), *film("f", range(3))), 0, SamplingConfig(crowd=0.2))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"crowd": 1.5}, r"crowd 1.5 must lie in \[0, 1\]"),
        ({"crowd": 0.5, "sampling": "paper"}, "needs sampling balanced"),
    ],
)
def test_impossible_samplings_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        SamplingConfig(**values)
    with pytest.raises(ValueError, match="nothing to train on"):
        PairSampler(Labels(LabelledImage(160, 120, np.float32([[0, 0, 160, 120]]), "whole")))


# --- streaming -------------------------------------------------------------------------------------------------------


PLAIN = AugmentationConfig(
    brightness=0, contrast=0, saturation=0, grey=0, blur=0, motion_blur=0, low_resolution=0, noise=0, mosaic=0,
    distractor=0,
)  # fmt: skip
"""Geometry alone."""


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
    config = AugmentationConfig(mosaic=0, absent=0.3, motion=0.5, look_alikes=0.5)
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
    stream, _ = streamed(Pictures(SMALL, broken=range(5)))
    with pytest.raises(OSError, match="none of 4 pairs can be read: picture . is broken"):
        stream.batch(0, 4)
