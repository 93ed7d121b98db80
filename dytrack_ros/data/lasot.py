"""LaSOT (Fan et al., CVPR 2019) and its extension LaSOT_ext (IJCV 2021): CLASS/CLASS-N/, with flags of absence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from dytrack_ros.data.files import NumberedFrames, files_in, first_frames, flags_in, images_in, names_in, read_truth
from dytrack_ros.data.sequences import Layout, Sequence

TRAIN_LIST, TEST_LIST = "training_set.txt", "testing_set.txt"
EXTENSION_CLASSES = {
    "atv", "badminton", "cosplay", "dancingshoe", "footbag", "frisbee", "jianzi", "lantern", "misc", "opossum",
    "paddle", "raccoon", "rhino", "skatingshoe", "wingsuit",
}  # fmt: skip
ATTRIBUTES = (
    "Illumination Variation", "Partial Occlusion", "Deformation", "Motion Blur", "Camera Motion", "Rotation",
    "Background Clutter", "Viewpoint Change", "Scale Variation", "Full Occlusion", "Fast Motion", "Out-of-View",
    "Low Resolution", "Aspect Ratio Change",
)  # fmt: skip


def _sequence_folders(folder: Path) -> dict[str, Path]:
    """CLASS/CLASS-N as published, or CLASS-N if all are in one folder; by name."""
    found = sorted(path.parent for depth in ("*/*-*", "*-*") for path in files_in(folder, f"{depth}/groundtruth.txt"))
    return {path.name: path for path in found}


def _truth(folder: Path) -> np.ndarray:
    """The target is absent where it is wholly occluded or out of view."""
    truth = read_truth(folder / "groundtruth.txt")
    for flags in ("full_occlusion.txt", "out_of_view.txt"):
        truth[flags_in(folder / flags, len(truth))] = np.nan
    return truth


def training_videos(root: Path) -> dict[str, Callable[[], Sequence]]:
    """Readers of the training videos by name: those in ``training_set.txt``, or else all not in ``testing_set.txt``.

    Both lists come with LaSOT. Raises FileNotFoundError without either: the test set must never be trained on.
    """
    folders = _sequence_folders(root)
    if (root / TRAIN_LIST).is_file():
        names = names_in(root / TRAIN_LIST)
    elif (root / TEST_LIST).is_file():
        names = sorted(set(folders) - set(names_in(root / TEST_LIST)))
    else:
        raise FileNotFoundError(
            f"{root} has neither {TRAIN_LIST} nor {TEST_LIST}: copy LaSOT's list there, for its 280 test videos "
            "must not be trained on"
        )

    def read(name: str) -> Sequence:
        if name not in folders:
            raise FileNotFoundError(f"{name} is in {TRAIN_LIST}, but has no folder with a groundtruth.txt")
        truth = _truth(folders[name])
        return Sequence(name, NumberedFrames(folders[name] / "img", 1, 8, len(truth)), truth)

    return {name: partial(read, name) for name in names}


def _recognises(is_extension: bool, folder: Path) -> bool:
    folders = _sequence_folders(folder)
    if not any((path / "full_occlusion.txt").is_file() for path in folders.values()):
        return False
    return is_extension == all(name.rpartition("-")[0] in EXTENSION_CLASSES for name in folders)


def _load(folder: Path) -> list[Sequence]:
    """The sequences in ``testing_set.txt`` if it lies in the folder, else all."""
    folders, chosen = _sequence_folders(folder), folder / TEST_LIST
    wanted = names_in(chosen) if chosen.is_file() else list(folders)
    missing = [name for name in wanted if name not in folders]
    if missing:
        example = folder / missing[0].rpartition("-")[0] / missing[0] / "groundtruth.txt"
        raise FileNotFoundError(f"{chosen} names {len(missing)} sequences that are not there, first {example}")
    return [_load_sequence(folders[name]) for name in wanted]


def _load_sequence(folder: Path) -> Sequence:
    truth = _truth(folder)
    frames = first_frames(images_in(folder / "img"), len(truth), folder / "groundtruth.txt")
    return Sequence(folder.name, frames, truth)


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
