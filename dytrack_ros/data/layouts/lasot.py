"""LaSOT (Fan et al., CVPR 2019) and its extension LaSOT_ext (IJCV 2021): CLASS/CLASS-N/, with flags of absence."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from dytrack_ros.data.layouts.files import Layout, first_frames, flags_in, images_in, names_in
from dytrack_ros.data.sequences import Sequence, read_truth

TEST_LIST = "testing_set.txt"
EXTENSION_CLASSES = {
    "atv", "badminton", "cosplay", "dancingshoe", "footbag", "frisbee", "jianzi", "lantern", "misc", "opossum", "paddle",
    "raccoon", "rhino", "skatingshoe", "wingsuit",
}  # fmt: skip
ATTRIBUTES = (
    "Illumination Variation", "Partial Occlusion", "Deformation", "Motion Blur", "Camera Motion", "Rotation",
    "Background Clutter", "Viewpoint Change", "Scale Variation", "Full Occlusion", "Fast Motion", "Out-of-View",
    "Low Resolution", "Aspect Ratio Change",
)  # fmt: skip


def _sequence_folders(folder: Path) -> list[Path]:
    """CLASS/CLASS-N as published, or CLASS-N where somebody has put all into one folder."""
    return sorted(path.parent for pattern in ("*/*-*", "*-*") for path in folder.glob(f"{pattern}/groundtruth.txt"))


def _recognises(is_extension: bool, folder: Path) -> bool:
    folders = _sequence_folders(folder)
    if not any((path / "full_occlusion.txt").is_file() for path in folders):
        return False
    return is_extension == all(path.name.rpartition("-")[0] in EXTENSION_CLASSES for path in folders)


def _load(folder: Path) -> list[Sequence]:
    """The sequences that ``testing_set.txt`` names where it lies in the folder, else all."""
    folders = _sequence_folders(folder)
    chosen = folder / TEST_LIST
    if chosen.is_file():
        there = {path.name: path for path in folders}
        wanted = names_in(chosen)
        missing = [name for name in wanted if name not in there]
        if missing:
            example = folder / missing[0].rpartition("-")[0] / missing[0] / "groundtruth.txt"
            raise FileNotFoundError(f"{chosen} names {len(missing)} sequences that are not there, first {example}")
        folders = [there[name] for name in wanted]
    return [_load_sequence(path) for path in folders]


def _load_sequence(folder: Path) -> Sequence:
    truth_file = folder / "groundtruth.txt"
    truth = read_truth(truth_file)
    for flags in ("full_occlusion.txt", "out_of_view.txt"):
        truth[flags_in(folder / flags, len(truth))] = np.nan
    return Sequence(folder.name, first_frames(images_in(folder / "img"), len(truth), truth_file), truth)


_EXPECTED = "CLASS/CLASS-N/{img/*.jpg, groundtruth.txt, full_occlusion.txt, out_of_view.txt}"
LAYOUTS = (
    Layout(
        "lasot_ext", _EXPECTED, partial(_recognises, True), _load, 150, ATTRIBUTES, ("att", "annos/att"),
        absent_is_missed=True,
    ),
    Layout(
        "lasot", _EXPECTED, partial(_recognises, False), _load, 280, ATTRIBUTES, ("att", "annos/att"),
        absent_is_missed=True,
        subset_note=f"put the evaluation toolkit's {TEST_LIST} beside the classes to take the test set alone",
    ),
)  # fmt: skip
