"""GOT-10k (Huang et al., TPAMI 2021): ``train`` and ``val`` with truth, ``test`` whose truth the server keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from dytrack_ros.data.files import NumberedFrames, first_box, first_frames, flags_in, images_in, names_in, read_truth
from dytrack_ros.data.sequences import Layout, Sequence

PREFIXES = {"val": "GOT-10k_Val_", "test": "GOT-10k_Test_"}


def _truth(folder: Path) -> np.ndarray:
    """The target is absent where ``absence.label`` says so or ``cover.label`` (0 to 8 eighths visible) is 0."""
    truth = read_truth(folder / "groundtruth.txt")
    truth[flags_in(folder / "absence.label", len(truth)) | ~flags_in(folder / "cover.label", len(truth))] = np.nan
    return truth


def training_videos(root: Path) -> dict[str, Callable[[], Sequence]]:
    """Readers of the videos in ``train/list.txt`` by name; ``root`` may also be the folder ``train``.

    Each lies in ``train/GOT-10k_Train_000001/{00000001.jpg, groundtruth.txt, absence.label, cover.label}``. Raises
    FileNotFoundError without ``list.txt``; a shorter list leaves videos out.
    """
    root = root / "train" if (root / "train").is_dir() else root
    if not (root / "list.txt").is_file():
        raise FileNotFoundError(f"{root} has no list.txt: give GOT-10k's folder, which holds train/list.txt")

    def read(name: str) -> Sequence:
        truth = _truth(root / name)
        return Sequence(name, NumberedFrames(root / name, 1, 8, len(truth)), truth)

    return {name: partial(read, name) for name in names_in(root / "list.txt")}


def _subset_folder(folder: Path, subset: str) -> Path | None:
    """The subset's own folder, which is ``folder`` or lies in it."""
    for candidate in (folder / subset, folder):
        names = names_in(candidate / "list.txt") if (candidate / "list.txt").is_file() else []
        if names and names[0].startswith(PREFIXES[subset]):
            return candidate
    return None


def _recognises(subset: str, folder: Path) -> bool:
    return _subset_folder(folder, subset) is not None


def _load(subset: str, folder: Path) -> list[Sequence]:
    found = _subset_folder(folder, subset)
    return [] if found is None else [_load_sequence(subset, found / name) for name in names_in(found / "list.txt")]


def _load_sequence(subset: str, folder: Path) -> Sequence:
    frames, truth_file = images_in(folder), folder / "groundtruth.txt"
    if subset == "test":
        return Sequence(folder.name, frames, first_box(truth_file, len(frames)), is_judged=False)
    truth = _truth(folder)
    return Sequence(folder.name, first_frames(frames, len(truth), truth_file), truth)


LAYOUTS = (
    Layout(
        "got10k_val",
        "val/list.txt and val/GOT-10k_Val_NNNNNN/{*.jpg, groundtruth.txt, absence.label, cover.label}",
        partial(_recognises, "val"), partial(_load, "val"), 180,
    ),
    Layout(
        "got10k_test",
        "test/list.txt and test/GOT-10k_Test_NNNNNN/{*.jpg, groundtruth.txt with the first box}",
        partial(_recognises, "test"), partial(_load, "test"), 180,
    ),
)  # fmt: skip
