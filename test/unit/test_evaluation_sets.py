"""Every dataset's official layout, made up in small: folders and files as published, pictures of 8x6 px."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dytrack_ros.data.lasot import ATTRIBUTES as LASOT_ATTRIBUTES
from dytrack_ros.data.registry import LAYOUTS, load_dataset
from dytrack_ros.data.sequences import Sequence, read_truth
from dytrack_ros.data.uav123 import ATTRIBUTES as UAV_ATTRIBUTES

ABSENT = [np.nan] * 4


def images(folder: Path, numbers, pattern="{:08d}.png") -> None:
    """An image for each number, its pixels all of that value."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / pattern.format(number)), np.full((6, 8, 3), number % 256, np.uint8))


def text(path: Path, *lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(str(line) for line in lines) + "\n")


def boxes(count: int, separator=",") -> list[str]:
    return [separator.join(map(str, (number, 1, 4, 3))) for number in range(count)]


def shown(sequence: Sequence) -> list[int]:
    """The numbers that the images show."""
    return [int(sequence.image(number)[0, 0, 0]) for number in range(len(sequence))]


def without_target(sequence: Sequence) -> list[int]:
    return np.flatnonzero(np.isnan(sequence.truth).any(1)).tolist()


def by_name(folder: Path, name: str = "auto", **options) -> dict[str, Sequence]:
    return {sequence.name: sequence for sequence in load_dataset(folder, name, **options).sequences}


# --- LaSOT ------------------------------------------------------------------------------------------------------------


def lasot(folder: Path, *names: str) -> Path:
    for name in names:
        own = folder / name.rpartition("-")[0] / name
        images(own / "img", range(1, 6))
        text(own / "groundtruth.txt", *boxes(4), "0,0,0,0")
        text(own / "full_occlusion.txt", "0,1,0,0,0")
        text(own / "out_of_view.txt", "0,0,0,1,0")
    return folder


def test_lasot(tmp_path):
    dataset = load_dataset(lasot(tmp_path, "bear-2", "bear-10", "cat-1"))
    assert dataset.layout.name == "lasot" and dataset.layout.absent_is_missed
    assert dataset.description == "lasot, 3 sequences (the official set has 280)"
    sequence = {sequence.name: sequence for sequence in dataset.sequences}["bear-2"]
    assert shown(sequence) == [1, 2, 3, 4, 5]
    assert without_target(sequence) == [1, 3, 4], "occluded, out of view, and a box of zeros"
    assert sequence.truth[2].tolist() == [2, 1, 4, 3]
    assert all(each.attributes == () for each in dataset.sequences)
    text(tmp_path / "testing_set.txt", "cat-1", "bear-10")
    assert list(by_name(tmp_path)) == ["cat-1", "bear-10"]
    text(tmp_path / "testing_set.txt", "cat-1", "bear-3")
    with pytest.raises(FileNotFoundError, match=r"1 sequences that .* first .*bear/bear-3/groundtruth\.txt"):
        load_dataset(tmp_path)


def test_lasot_extension_flat_folders_and_too_many_sequences(tmp_path):
    assert load_dataset(lasot(tmp_path / "ext", "atv-1", "wingsuit-10")).layout.name == "lasot_ext"
    dataset = load_dataset(lasot(tmp_path / "given", "bear-2"))
    many = type(dataset)(tmp_path, dataset.layout, dataset.sequences * 300)
    assert "300 sequences (the official set has 280: put the evaluation toolkit's testing_set.txt" in many.description
    assert type(dataset)(tmp_path, dataset.layout, dataset.sequences * 280).description == "lasot, 280 sequences"
    (tmp_path / "given" / "bear").rename(tmp_path / "flat")
    assert load_dataset(tmp_path / "flat").layout.name == "lasot"


def test_lasot_attributes(tmp_path):
    lasot(tmp_path / "data", "bear-2", "bear-10")
    row = [0] * len(LASOT_ATTRIBUTES)
    row[1] = row[13] = 1
    text(tmp_path / "data" / "att" / "bear-2.txt", ",".join(map(str, row)))
    with pytest.raises(FileNotFoundError, match=r"att/bear-10\.txt is missing"):
        load_dataset(tmp_path / "data")
    text(tmp_path / "data" / "att" / "bear-10.txt", ",".join("0" * len(row)))
    found = by_name(tmp_path / "data")
    assert found["bear-2"].attributes == ("Partial Occlusion", "Aspect Ratio Change")
    assert found["bear-10"].attributes == ()
    (tmp_path / "data" / "att").rename(tmp_path / "elsewhere")
    assert by_name(tmp_path / "data")["bear-2"].attributes == ()
    assert by_name(tmp_path / "data", attributes=tmp_path / "elsewhere")["bear-2"].attributes != ()
    text(tmp_path / "elsewhere" / "bear-10.txt", "0,1")
    with pytest.raises(ValueError, match="has 2 numbers; lasot has 14 attributes"):
        load_dataset(tmp_path / "data", attributes=tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda own: (own / "out_of_view.txt").unlink(), r"out_of_view\.txt is missing: expected lines of a number"),
        (lambda own: text(own / "out_of_view.txt", "0,0"), r"out_of_view\.txt has 2 flags for 5 frames"),
        (lambda own: (own / "img" / "00000003.png").unlink(), r"groundtruth\.txt has 5 boxes, but .*img only 4 images"),
        (lambda own: (own / "img").rename(own / "images"), r"img has no images: expected \.bmp, \.jpeg"),
        (lambda own: text(own / "groundtruth.txt", *boxes(4), "1,2,3"), r"groundtruth\.txt:5: .* got 3 numbers"),
        (lambda own: text(own / "full_occlusion.txt", "1,0,0,0,0"), "first frame needs a box"),
    ],
)
def test_what_is_missing_is_named(tmp_path, spoil, message):
    lasot(tmp_path, "bear-2")
    spoil(tmp_path / "bear" / "bear-2")
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        load_dataset(tmp_path, "lasot")


# --- GOT-10k, TrackingNet ---------------------------------------------------------------------------------------------


def got10k(folder: Path) -> Path:
    val = folder / "val"
    text(val / "list.txt", "GOT-10k_Val_000001")
    own = val / "GOT-10k_Val_000001"
    images(own, range(1, 5))
    text(own / "groundtruth.txt", *(f"{x}.0000,1.0000,4.0000,3.0000" for x in range(4)))
    text(own / "absence.label", 0, 0, 1, 0)
    text(own / "cover.label", 8, 1, 0, 0)
    test = folder / "test"
    text(test / "list.txt", "GOT-10k_Test_000001", "GOT-10k_Test_000002")
    for number in (1, 2):
        images(test / f"GOT-10k_Test_{number:06d}", range(1, 4))
        text(test / f"GOT-10k_Test_{number:06d}" / "groundtruth.txt", "1.0,2.0,3.0,4.0")
    return folder


def test_got10k(tmp_path):
    got10k(tmp_path)
    (val,) = load_dataset(tmp_path, "got10k_val").sequences
    assert without_target(val) == [2, 3] and shown(val) == [1, 2, 3, 4] and val.is_judged
    tests = load_dataset(tmp_path, "got10k_test").sequences
    assert [len(sequence) for sequence in tests] == [3, 3]
    assert tests[0].truth[0].tolist() == [1, 2, 3, 4] and without_target(tests[0]) == [1, 2]
    assert not tests[0].is_judged and np.isnan(tests[0].judged_truth).all(), "not even the first box is a result"
    assert load_dataset(tmp_path / "test").layout.name == "got10k_test", "its own folder is recognised too"
    assert load_dataset(tmp_path / "val").layout.name == "got10k_val"
    (tmp_path / "val" / "GOT-10k_Val_000001" / "cover.label").unlink()
    with pytest.raises(FileNotFoundError, match=r"cover\.label is missing"):
        load_dataset(tmp_path, "got10k_val")


def test_trackingnet_orders_frames_by_number(tmp_path):
    for name in ("-aBc_0", "x0-y_12"):
        images(tmp_path / "TEST" / "frames" / name, range(12), "{}.png")
        text(tmp_path / "TEST" / "anno" / f"{name}.txt", "10.5,20.0,30.0,40.0")
    dataset = load_dataset(tmp_path)
    assert dataset.layout.name == load_dataset(tmp_path / "TEST").layout.name == "trackingnet"
    assert [sequence.name for sequence in dataset.sequences] == ["-aBc_0", "x0-y_12"]
    assert shown(dataset.sequences[0]) == list(range(12))
    assert not dataset.sequences[0].is_judged and dataset.sequences[0].truth[0].tolist() == [10.5, 20, 30, 40]
    text(tmp_path / "TEST" / "anno" / "lost_1.txt", "1,2,3,4")
    with pytest.raises(FileNotFoundError, match="frames/lost_1 has no images"):
        load_dataset(tmp_path)


# --- TNL2k, NFS -------------------------------------------------------------------------------------------------------


def test_tnl2k(tmp_path):
    images(tmp_path / "Arrow_Video_1" / "imgs", range(1, 4), "{:05d}.png")
    text(tmp_path / "Arrow_Video_1" / "groundtruth.txt", *boxes(2), "0,0,0,0")
    text(tmp_path / "Arrow_Video_1" / "language.txt", "the arrow")
    text(tmp_path / "annos" / "att" / "Arrow_Video_1_attribute.txt", ",".join("1" + "0" * 15 + "1"))
    dataset = load_dataset(tmp_path)
    assert dataset.layout.name == "tnl2k"
    assert without_target(dataset.sequences[0]) == [2]
    assert dataset.sequences[0].attributes == ("Camera Motion", "Modality Switch")


def nfs_rows(count: int) -> list[str]:
    return [f'0 {n} 1 {n + 4} 4 {n} {int(n == 16)} 0 {int(n % 8 > 0)} "ball"' for n in range(count)]


def test_nfs(tmp_path):
    images(tmp_path / "ball" / "30" / "ball", range(1, 5), "{:05d}.png")
    images(tmp_path / "ball" / "240" / "ball", range(1, 3), "{:05d}.png")
    text(tmp_path / "ball" / "240" / "ball.txt", *nfs_rows(2))
    text(tmp_path / "ball" / "30" / "ball.txt", *nfs_rows(25))
    dataset = load_dataset(tmp_path)
    assert dataset.layout.name == "nfs"
    (sequence,) = dataset.sequences
    assert shown(sequence) == [1, 2, 3, 4]
    assert sequence.truth[:2].tolist() == [[0, 1, 4, 3], [8, 1, 4, 3]], "corners become sizes, every eighth row counts"
    assert without_target(sequence) == [2], "lost"
    text(tmp_path / "ball" / "30" / "ball.txt", *nfs_rows(5))
    assert load_dataset(tmp_path).sequences[0].truth[:, 0].tolist() == [0, 1, 2, 3], "rows at 30 Hz, one too many"
    text(tmp_path / "ball" / "30" / "ball.txt", *nfs_rows(11))
    with pytest.raises(ValueError, match=r"ball\.txt has 11 rows for 4 images"):
        load_dataset(tmp_path)
    text(tmp_path / "ball" / "30" / "ball.txt", "1,2,3,4")
    with pytest.raises(ValueError, match=r"ball\.txt:1: expected track x1 y1 x2 y2"):
        load_dataset(tmp_path)


# --- UAV123 -----------------------------------------------------------------------------------------------------------

PARTS = {"bike1": ("bike1", 1, 4), "bird1_1": ("bird1", 1, 3), "bird1_2": ("bird1", 6, 8), "car1_s": ("car1_s", 1, 2)}


def uav123(folder: Path, subfolder: str = "UAV123") -> Path:
    for name, (own, first, last) in PARTS.items():
        images(folder / "data_seq" / subfolder / own, range(1, last + 1), "{:06d}.png")
        rows = [f"{number},1,4,3" for number in range(first, last + 1)]
        text(folder / "anno" / subfolder / f"{name}.txt", *rows)
    text(folder / "anno" / subfolder / "bike1.txt", "1,1,4,3", "2,1,4,3", "NaN,NaN,NaN,NaN", "4,1,4,3")
    return folder


def config(folder: Path, version: str) -> None:
    def struct(name, own, first, last):
        return (
            f"struct('name','{name}','path','D:\\data_seq\\{version}\\{own}\\','startFrame',{first},'endFrame',{last},"
            "'nz',6,'ext','jpg','init_rect',[0,0,0,0])"
        )

    rows = ",...\n    ".join(struct(name, *part) for name, part in PARTS.items())
    other = struct("bike1", "bike1", 2, 3)
    text(
        folder / "configSeqs.m",
        "function seqs=configSeqs", f"seqUAV20L={{{other}}};", f"seq{version}={{{rows}}};", f"seqs = seq{version};",
    )  # fmt: skip


def test_uav123_takes_the_parts_that_its_config_names(tmp_path):
    config(uav123(tmp_path), "UAV123")
    dataset = load_dataset(tmp_path)
    assert dataset.layout.name == "uav123"
    found = {sequence.name: sequence for sequence in dataset.sequences}
    assert list(found) == sorted(PARTS)
    assert shown(found["bird1_1"]) == [1, 2, 3] and shown(found["bird1_2"]) == [6, 7, 8]
    assert found["bird1_2"].truth[:, 0].tolist() == [6, 7, 8]
    assert shown(found["bike1"]) == [1, 2, 3, 4], "not the part of UAV20L"
    assert without_target(found["bike1"]) == [2]
    for name in PARTS:
        text(tmp_path / "anno" / "UAV123" / "att" / f"{name}.txt", ",".join("01" + "0" * (len(UAV_ATTRIBUTES) - 2)))
    assert by_name(tmp_path)["bird1_2"].attributes == ("Aspect Ratio Change",)


def test_uav123_10fps_with_and_without_a_folder_of_its_own(tmp_path):
    config(uav123(tmp_path / "a", "UAV123_10fps"), "UAV123_10fps")
    assert load_dataset(tmp_path / "a").layout.name == "uav123_10fps"
    config(uav123(tmp_path / "b", "."), "UAV123_10fps")
    assert load_dataset(tmp_path / "b").layout.name == "uav123_10fps"
    assert shown(by_name(tmp_path / "b")["bird1_2"]) == [6, 7, 8]


def test_a_config_that_is_missing_or_does_not_fit_is_refused(tmp_path):
    uav123(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"configSeqs\.m is missing"):
        load_dataset(tmp_path)
    config(tmp_path, "UAV20")
    with pytest.raises(ValueError, match="has no list seqUAV123"):
        load_dataset(tmp_path)
    config(tmp_path, "UAV123")
    text(tmp_path / "anno" / "UAV123" / "new1.txt", *boxes(2))
    with pytest.raises(ValueError, match=r"does not list new1\.txt"):
        load_dataset(tmp_path)
    (tmp_path / "anno" / "UAV123" / "new1.txt").unlink()
    text(tmp_path / "anno" / "UAV123" / "bird1_2.txt", *boxes(2))
    with pytest.raises(ValueError, match=r"bird1_2\.txt has 2 boxes for the 3 images 6 to 8"):
        load_dataset(tmp_path)
    text(tmp_path / "configSeqs.m", "seqUAV123={struct('name','bike1','path','D:\\bike1\\')};")
    with pytest.raises(ValueError, match="'startFrame' and 'endFrame'"):
        load_dataset(tmp_path)


# --- OTB --------------------------------------------------------------------------------------------------------------


def test_otb(tmp_path):
    images(tmp_path / "David" / "img", range(297, 305), "{:04d}.png")
    text(tmp_path / "David" / "groundtruth_rect.txt", *boxes(4, "\t"))
    images(tmp_path / "Football1" / "img", range(1, 6), "{:04d}.png")
    text(tmp_path / "Football1" / "groundtruth_rect.txt", *boxes(3))
    images(tmp_path / "BlurCar1" / "img", range(247, 250), "{:04d}.png")
    text(tmp_path / "BlurCar1" / "groundtruth_rect.txt", *boxes(2, "\t"), "2 1 4 3")
    images(tmp_path / "Jogging" / "img", range(1, 4), "{:04d}.png")
    text(tmp_path / "Jogging" / "groundtruth_rect.1.txt", *boxes(3))
    text(tmp_path / "Jogging" / "groundtruth_rect.2.txt", *boxes(3, " "))
    images(tmp_path / "Human4" / "img", range(1, 4), "{:04d}.png")
    text(tmp_path / "Human4" / "groundtruth_rect.1.txt", "")
    text(tmp_path / "Human4" / "groundtruth_rect.2.txt", *boxes(3))
    dataset = load_dataset(tmp_path)
    assert dataset.layout.name == "otb"
    found = {sequence.name: sequence for sequence in dataset.sequences}
    assert list(found) == ["BlurCar1", "David", "Football1", "Human4-2", "Jogging-1", "Jogging-2"]
    assert shown(found["David"]) == [300 % 256, 301 % 256, 302 % 256, 303 % 256], "its truth begins with image 300"
    assert shown(found["Football1"]) == [1, 2, 3], "the truth ends before the images"
    assert shown(found["BlurCar1"]) == [247, 248, 249]
    assert found["Jogging-2"].truth[:, 0].tolist() == [0, 1, 2]

    for name in ("blurcar1", "david", "football1", "human4-2", "Jogging.1", "jogging_2"):
        text(tmp_path / "anno" / "att" / f"{name}.txt", "\t".join("0" * 10 + "1"))
    assert by_name(tmp_path)["Jogging-2"].attributes == ("Low Resolution",), "however the toolkit spells the name"


# --- VOT --------------------------------------------------------------------------------------------------------------


def vot(folder: Path, *lines: str, own: str = "ball", list_file: bool = True) -> Path:
    images(folder / own / "color", range(1, len(lines) + 1))
    text(folder / own / "groundtruth.txt", *lines)
    if list_file:
        text(folder / "list.txt", own)
    return folder


def test_vot_polygons_become_upright_boxes(tmp_path):
    rotated = "5.0,1.0,8.0,4.0,5.0,7.0,2.0,4.0"
    lines = ["1,2,3,4", rotated, "0", "nan,nan,nan,nan", "1,1,3,1,2,5"]
    dataset = load_dataset(vot(tmp_path, *lines))
    assert dataset.layout.name == "vot"
    (sequence,) = dataset.sequences
    assert sequence.truth[[0, 1, 4]].tolist() == [[1, 2, 3, 4], [2, 1, 6, 6], [1, 1, 2, 4]]
    assert without_target(sequence) == [2, 3] and shown(sequence) == [1, 2, 3, 4, 5]
    text(tmp_path / "ball" / "camera_motion.tag", *"00100")
    text(tmp_path / "ball" / "occlusion.tag", *"00000")
    assert load_dataset(tmp_path).sequences[0].attributes == ("camera motion",)


def test_vot_without_a_list_is_told_by_its_corners(tmp_path):
    vot(tmp_path, "1,1,3,1,3,5,1,5", list_file=False)
    assert load_dataset(tmp_path).layout.name == "vot"
    vot(tmp_path / "flat", "1,1,3,1,3,5,1,5")
    for image in (tmp_path / "flat" / "ball" / "color").iterdir():
        image.rename(image.parent.parent / image.name)
    (tmp_path / "flat" / "ball" / "color").rmdir()
    assert len(load_dataset(tmp_path / "flat", "vot").sequences[0]) == 1, "images beside the truth, as until 2017"


def test_masks_are_refused(tmp_path):
    vot(tmp_path, "m10,20,5,5,0,25", list_file=False)
    with pytest.raises(ValueError, match=r"groundtruth\.txt:1: the truth is a mask; only boxes and polygons"):
        load_dataset(tmp_path)
    vot(tmp_path, "1,2,3,4,5")
    with pytest.raises(ValueError, match=r"groundtruth\.txt:1: expected x, y, w, h or the corners"):
        load_dataset(tmp_path)


# --- all --------------------------------------------------------------------------------------------------------------


def test_plain_folders_are_what_is_left(tmp_path):
    images(tmp_path / "ball" / "img", range(3))
    text(tmp_path / "ball" / "groundtruth.txt", *boxes(2), "nan,nan,nan,nan")
    dataset = load_dataset(tmp_path)
    assert dataset.description == "plain, 1 sequence" and without_target(dataset.sequences[0]) == [2]
    with pytest.raises(ValueError, match="plain has no attribute files"):
        load_dataset(tmp_path, attributes=tmp_path)
    with pytest.raises(FileNotFoundError, match="it is not a folder"):
        load_dataset(tmp_path / "nothing")
    with pytest.raises(ValueError, match="unknown dataset 'otb2013'; there are lasot_ext, lasot, "):
        load_dataset(tmp_path, "otb2013")


def test_an_empty_folder_has_no_layout(tmp_path):
    for name in LAYOUTS:
        with pytest.raises(FileNotFoundError, match="no sequences in"):
            load_dataset(tmp_path, name)
    with pytest.raises(FileNotFoundError, match="in any known layout") as error:
        load_dataset(tmp_path)
    assert all(layout.expected in str(error.value) for layout in LAYOUTS.values())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("lines", ["1,2,3,4\n5,6,7,8\n", "1,2,3,4,\r\n5, 6, 7, 8,\r\n\r\n \n", "1\t2 3\t4\n\n5 6 7 8"])
def test_truth_files_of_any_editor_are_read(tmp_path, encoding, lines):
    (tmp_path / "truth.txt").write_bytes(lines.encode(encoding))
    assert read_truth(tmp_path / "truth.txt").tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    vot(tmp_path, "1,2,3,4", "5,6,7,8")
    (tmp_path / "ball" / "groundtruth.txt").write_bytes(lines.encode(encoding))
    assert load_dataset(tmp_path, "vot").sequences[0].truth.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1,2,3,4\n5,6,7,8".encode("utf-16-le"), r"truth\.txt:1: zero bytes, as in UTF-16 .*save it as UTF-8"),
        (b"1,2,3,4\n5,6,7,\xff8\n", r"truth\.txt:2: not readable as utf-8"),
        (b"1,2,3,4\n\n5;6;7;8\n", r"truth\.txt:3: expected x, y, w, h, got '5;6;7;8'"),
    ],
)
def test_truth_files_that_cannot_be_read_are_refused_with_the_line(tmp_path, content, said):
    (tmp_path / "truth.txt").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_truth(tmp_path / "truth.txt")


def test_what_macos_leaves_beside_files_is_no_data(tmp_path):
    def litter(folder):
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
        return folder

    lasot(tmp_path / "lasot", "bear-2")
    text(tmp_path / "lasot" / "att" / "bear-2.txt", ",".join("1" * len(LASOT_ATTRIBUTES)))
    (sequence,) = load_dataset(litter(tmp_path / "lasot")).sequences
    assert shown(sequence) == [1, 2, 3, 4, 5] and len(sequence.attributes) == len(LASOT_ATTRIBUTES)
    config(uav123(tmp_path / "uav"), "UAV123")
    assert len(load_dataset(litter(tmp_path / "uav")).sequences) == len(PARTS)
    images(tmp_path / "trackingnet" / "frames" / "a_0", range(3), "{}.png")
    text(tmp_path / "trackingnet" / "anno" / "a_0.txt", "1,2,3,4")
    assert [len(sequence) for sequence in load_dataset(litter(tmp_path / "trackingnet")).sequences] == [3]
