"""Training data: readers of public sets, tables, shards, the packer, on made-up copies of the layouts."""

import json
import tarfile

import numpy as np
import pytest
from training_layouts import (
    HEIGHT,
    MAKERS,
    WIDTH,
    make_coco,
    make_lasot,
    make_shard,
    make_trackingnet,
    make_voc,
    write_image,
    write_video,
)

from dytrack_ros.cli import pack
from dytrack_ros.data.labels import ImageTable, LabelledImage
from dytrack_ros.data.registry import left_out, open_data, summary
from dytrack_ros.data.shards import ShardDataset, ShardWriter, expand_shards


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public")
    return {name: make(folder / name) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def all_data(roots):
    return open_data([f"{name}:{root}" for name, root in roots.items()])


def frames_of(dataset, video):
    return [image.frame for image in dataset.images if image.video == video]


def test_lasot_leaves_out_its_test_videos_and_hidden_targets(tmp_path):
    root = make_lasot(tmp_path)
    dataset = open_data([f"lasot:{root}"])
    assert dataset.images.video_names == (("lasot", "cat-1"), ("lasot", "kite-7"))
    assert frames_of(dataset, "cat-1") == [0, 1, 4, 5]
    assert frames_of(dataset, "kite-7") == [0, 1, 2, 3, 4, 5]
    assert dataset.images[2].boxes.tolist() == [[36, 44, 30, 24]]
    assert dataset.path(2).name == "00000005.jpg"
    (root / "training_set.txt").write_text("kite-7\ncat-9\n")
    dataset = open_data([f"lasot:{root}"])
    assert dataset.images.video_names == (("lasot", "kite-7"),)
    assert len(left_out(dataset)) == 1 and "cat-9" in left_out(dataset)[0]
    for name in ("training_set.txt", "testing_set.txt"):
        (root / name).unlink()
    with pytest.raises(FileNotFoundError, match="must not be trained on"):
        open_data([f"lasot:{root}"])


def test_plain_folders_can_be_trained_on(tmp_path):
    boxes = [(20, 40, 30, 24), (24, 41, 30, 24), (28, 42, 30, 24)]
    for name in ("one", "two"):
        write_video(tmp_path / name / "img", tmp_path / name / "groundtruth.txt", boxes, name="frame {}.png")
        (tmp_path / name / "img" / "._frame 1.png").write_bytes(b"left by macOS")
    dataset = open_data([f"plain:{tmp_path}"])
    assert [name for _, name in dataset.images.video_names] == ["one", "two"] and len(dataset.images) == 6
    assert dataset.images[4].boxes.tolist() == [[24, 41, 30, 24]] and dataset.pixels(4).shape == (HEIGHT, WIDTH, 3)


def test_got10k_honours_absence_and_cover(roots):
    for root in (roots["got10k"], roots["got10k"] / "train"):
        dataset = open_data([f"got10k:{root}"])
        assert [name for _, name in dataset.images.video_names] == ["GOT-10k_Train_000001", "GOT-10k_Train_000002"]
        assert frames_of(dataset, "GOT-10k_Train_000001") == [1, 2, 3]
        assert dataset.path(0).name == "00000002.jpg"


def test_trackingnet_reads_every_chunk_and_cuts_boxes_off_at_the_border(roots):
    dataset = open_data([f"trackingnet:{roots['trackingnet']}"])
    assert [name for _, name in dataset.images.video_names] == ["TRAIN_0/abc_0", "TRAIN_11/xyz_1"]
    assert dataset.path(0) == roots["trackingnet"] / "TRAIN_0" / "frames" / "abc_0" / "0.jpg"
    assert dataset.images[4].boxes.tolist() == [[0, 40, 15, 24]]


def test_coco_leaves_crowds_out(roots):
    dataset = open_data([f"coco:{roots['coco']}"])
    assert [image.boxes.tolist() for image in dataset.images] == [
        [[20, 30, 40, 30], [90, 50, 30, 40]],
        [[20, 30, 40, 30]],
    ]
    assert all(image.video is None for image in dataset.images)


def test_voc_counts_pixels_from_one_and_reads_every_year(roots):
    dataset = open_data([f"voc:{roots['voc']}"])
    assert [dataset.path(number).stem for number in range(len(dataset.images))] == ["000005", "2008_000002"]
    assert dataset.images[0].boxes.tolist() == [[20, 30, 40, 30]]
    assert len(open_data([f"voc:{roots['voc'] / 'VOC2012'}"]).images) == 1


def test_the_target_is_where_every_readers_label_says(all_data):
    assert {image.source for image in all_data.images} == set(MAKERS)
    for number, image in enumerate(all_data.images):
        x, y, w, h = (round(float(value)) for value in image.boxes[0])
        red = all_data.pixels(number)[..., 0].astype(int) - all_data.pixels(number)[..., 1] > 60
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        found = (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
        assert np.abs(np.subtract(found, (x, y, w, h))).max() <= 2, image


def test_a_folder_of_something_else_is_refused_with_what_is_expected(tmp_path):
    for name in MAKERS:
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            open_data([f"{name}:{tmp_path}"])
    with pytest.raises(FileNotFoundError, match="no folder"):
        open_data([f"coco:{tmp_path}/none"])


def test_videos_and_images_with_bad_labels_are_left_out_and_said(tmp_path):
    tracking = make_trackingnet(tmp_path / "trackingnet")
    (tracking / "TRAIN_0" / "anno" / "abc_0.txt").write_text("1,2,3,4\n4,five,6,7\n")
    voc = make_voc(tmp_path / "voc")
    (voc / "VOC2012" / "Annotations" / "2008_000002.xml").write_text("<annotation>")
    dataset = open_data([f"trackingnet:{tracking}", f"voc:{voc}"])
    assert [image.video for image in dataset.images] == ["TRAIN_11/xyz_1"] * 4 + [None]
    said = summary("left out", left_out(dataset))
    assert said.startswith("left out: 2 (") and "abc_0.txt:2: " in said and "2008_000002.xml" in said


def test_unreadable_pixels_name_their_file(tmp_path):
    root = make_coco(tmp_path)
    first, second = (root / "train2017" / f"{number:012d}.jpg" for number in (9, 10))
    first.write_bytes(b"")
    write_image(second, (0, 0, 5, 5), size=(80, 60))
    dataset = open_data([f"coco:{root}"])
    with pytest.raises(ValueError, match=r"000000000009\.jpg is no readable image"):
        dataset.pixels(0)
    with pytest.raises(ValueError, match=rf"80x60 pixels, its label says {WIDTH}x{HEIGHT}"):
        dataset.pixels(1)
    (root / "annotations" / "instances_train2017.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="COCO"):
        open_data([f"coco:{root}"])


# --- tables and shards -----------------------------------------------------------------------------------------------


def test_tables_keep_what_single_images_say():
    box = np.array([[1, 2, 30, 40]], np.float32)
    images = [
        LabelledImage(100, 90, box, "a"),
        LabelledImage(80, 70, np.concatenate([box, box + 1]), "b", "v", 3),
        LabelledImage(80, 70, box + 2, "a", "v", 5),
    ]
    first, second = ImageTable.of(images[:2]), ImageTable.of(images[2:])
    for table in (ImageTable.of(images), ImageTable.concatenated([first, second])):
        for image, again in zip(images, table, strict=True):
            assert again.boxes.tolist() == image.boxes.tolist()
            assert (again.width, again.height, again.source, again.video, again.frame) == (
                (image.width, image.height, image.source, image.video, image.frame)
            )
        assert table.video_names == (("b", "v"), ("a", "v")), "one name in two sources is two videos"
        backwards = table[::-1]
        assert [image.frame for image in backwards] == [5, 3, 0]
        assert backwards[1].boxes.tolist() == images[1].boxes.tolist()
    joined = ImageTable.concatenated([first, first])
    assert len(joined.trainable_videos()) == 1, "parts of one video of one source are one video"
    with pytest.raises(IndexError):
        joined[4]


def test_shards_are_read_and_bad_ones_refused(tmp_path):
    dataset = ShardDataset([make_shard(tmp_path / "train-000.tar")])
    assert len(dataset.images) == 14 and dataset.pixels(3).shape == (120, 160, 3)
    assert [len(image.trainable_boxes()) for image in dataset.images[:6]] == [1] * 6, (
        "a box of the whole image is useless"
    )
    (tmp_path / "._train-000.tar").write_bytes(b"left by macOS")
    assert expand_shards([tmp_path]) == [tmp_path / "train-000.tar"]
    with pytest.raises(FileNotFoundError, match=r"\.tar"):
        expand_shards([tmp_path / "nowhere"])
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    with pytest.raises(ValueError, match=r"index\.jsonl"):
        ShardDataset([tmp_path / "a.tar"])
    with tarfile.open(tmp_path / "a.tar", "w:gz"):
        pass
    with pytest.raises(ValueError, match="no plain tar file"):
        ShardDataset([tmp_path / "a.tar"])
    (tmp_path / "index.jsonl").write_text('\ufeff\n{"file": "gone.webp", "w": 9, "h": 9, "boxes": []}\n', "utf-8")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "index.jsonl", "index.jsonl")
    with pytest.raises(ValueError, match=r"a\.tar, index\.jsonl:2: .*gone\.webp"):
        ShardDataset([tmp_path / "a.tar"])


def test_neighbours_are_counted_labelled_and_packed(tmp_path):
    boxes = np.float32([[1, 2, 30, 40], [50, 2, 30, 40], [1, 50, 30, 30]])
    images = [
        LabelledImage(100, 90, boxes, "a"),
        LabelledImage(100, 90, boxes[:1], "a", neighbours=4),
        LabelledImage(100, 90, boxes, "a", neighbours=0),
        LabelledImage(100, 90, boxes, "b", "v", 3),
        LabelledImage(100, 90, boxes[:1], "b", "v", 4, neighbours=2),
    ]
    tables = ImageTable.of(images), ImageTable.concatenated([ImageTable.of(images[:2]), ImageTable.of(images[2:])])
    assert [table.neighbours.tolist() for table in tables] == [[2, 4, 0, 0, 2]] * 2
    assert [image.neighbour_count for image in tables[1][::-1]] == [2, 0, 0, 4, 2]

    class Grey:
        images = tables[0]

        def pixels(self, number):
            return np.full((90, 100, 3), 90, np.uint8)

    with ShardWriter(Grey(), tables[0], "webp", 90, threads=1) as writer:
        writer.write(tmp_path / "a.tar", np.arange(5))
    assert ShardDataset([tmp_path / "a.tar"]).images.neighbours.tolist() == [2, 4, 0, 0, 2]


# --- packing ----------------------------------------------------------------------------------------------------------


def packed(out, *data, expected=0, **options):
    options = {"long_side": 80, "frames_per_video": 3, "images_per_shard": 4, "threads": 1, **options}
    argv = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert pack.main(["--data", *data, "--out", str(out), *argv]) == expected
    return sorted(out.glob("*.tar"))


def test_packed_shards_hold_the_shrunk_data(all_data, roots, tmp_path):
    shards = packed(tmp_path, *(f"{name}:{root}" for name, root in roots.items()))
    dataset = ShardDataset(shards)
    assert {image.source for image in dataset.images} == set(MAKERS)
    assert frames_of(dataset, "kite-7") == [0, 2, 5], "three of six, evenly spaced"
    assert len(shards) == 5 and len(dataset.images) == 19, "a target that has 7 px now is left out"
    joined = open_data([str(tmp_path), f"lasot:{roots['lasot']}"])
    assert [len(part.images) for part in joined.parts] == [19, 10]
    assert joined.pixels(18).shape == (60, 80, 3) and joined.pixels(19).shape == (HEIGHT, WIDTH, 3)
    by_key = {(image.source, image.video, image.frame): image for image in all_data.images if image.video}
    for number, image in enumerate(dataset.images):
        assert (image.width, image.height) == (80, 60) == dataset.pixels(number).shape[1::-1]
        if image.video:
            original = by_key[image.source, image.video, image.frame]
            assert np.allclose(image.boxes, original.boxes / 2, atol=0.01)


def test_packing_is_deterministic_and_goes_on_where_it_was_stopped(roots, tmp_path):
    data = [f"got10k:{roots['got10k']}", f"voc:{roots['voc']}"]
    first = packed(tmp_path / "a", *data)
    assert len(first) == 2
    contents = [shard.read_bytes() for shard in first]
    first[1].rename(first[1].with_suffix(".partial"))
    first[1].with_suffix(".partial").write_bytes(contents[1][:700])
    kept = first[0].stat()
    again = packed(tmp_path / "a", *data, threads=2)
    assert [shard.read_bytes() for shard in again] == contents
    assert first[0].stat().st_mtime_ns == kept.st_mtime_ns, "what is finished is not written again"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "pack.json",
        "shard-00000.tar",
        "shard-00001.tar",
    ]


def test_a_folder_packed_otherwise_is_refused(roots, tmp_path, capsys):
    packed(tmp_path, f"voc:{roots['voc']}")
    packed(tmp_path, f"voc:{roots['voc']}", long_side=60, expected=2)
    assert "begun with long_side 80" in capsys.readouterr().err
    packed(tmp_path / "none", f"coco:{roots['coco']}", long_side=20, expected=2)
    assert "greater --long-side" in capsys.readouterr().err
    packed(tmp_path, f"coco:{roots['coco']}", expected=2)
    assert "begun with" in capsys.readouterr().err


def test_the_packer_counts_what_it_cannot_read(tmp_path, capsys):
    root = make_coco(tmp_path / "coco")
    (root / "train2017" / "000000000009.jpg").unlink()
    shards = packed(tmp_path / "out", f"coco:{root}", format="jpg")
    assert "unreadable: 1 (" in capsys.readouterr().out
    with tarfile.open(shards[0]) as archive:
        assert archive.getnames() == ["00000001.jpg", "index.jsonl"]
        index = json.loads(archive.extractfile("index.jsonl").read())
    assert index == {"file": "00000001.jpg", "w": 80, "h": 60, "boxes": [[10.0, 15.0, 20.0, 15.0]], "source": "coco"}
    (root / "train2017" / "000000000010.jpg").unlink()
    packed(tmp_path / "none", f"coco:{root}", expected=2)
    assert "none of the 2 images" in capsys.readouterr().err
