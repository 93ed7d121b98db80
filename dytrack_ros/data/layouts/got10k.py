"""GOT-10k (Huang et al., TPAMI 2021): ``val`` with truth, ``test`` whose truth the server keeps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from dytrack_ros.data.layouts.files import (
    Layout,
    first_box_only,
    first_frames,
    flags_in,
    images_in,
    names_in,
)
from dytrack_ros.data.sequences import Sequence, read_truth

PREFIXES = {"val": "GOT-10k_Val_", "test": "GOT-10k_Test_"}


def _subset_folder(folder: Path, subset: str) -> Path | None:
    """The subset's own folder, given it or the one above it."""
    for candidate in (folder / subset, folder):
        names = names_in(candidate / "list.txt") if (candidate / "list.txt").is_file() else []
        if names and names[0].startswith(PREFIXES[subset]):
            return candidate
    return None


def _recognises(subset: str, folder: Path) -> bool:
    return _subset_folder(folder, subset) is not None


def _load(subset: str, folder: Path) -> list[Sequence]:
    subset_folder = _subset_folder(folder, subset)
    if subset_folder is None:
        return []
    read = _load_val if subset == "val" else _load_test
    return [read(subset_folder / name) for name in names_in(subset_folder / "list.txt")]


def _load_val(folder: Path) -> Sequence:
    """A frame is without target where ``absence.label`` says so or ``cover.label`` (0 to 8 eighths visible) is 0."""
    truth_file = folder / "groundtruth.txt"
    truth = read_truth(truth_file)
    truth[flags_in(folder / "absence.label", len(truth)) | ~flags_in(folder / "cover.label", len(truth))] = np.nan
    return Sequence(folder.name, first_frames(images_in(folder), len(truth), truth_file), truth)


def _load_test(folder: Path) -> Sequence:
    frames, truth = images_in(folder), read_truth(folder / "groundtruth.txt")
    if not len(truth):
        raise ValueError(f"{folder / 'groundtruth.txt'} is empty: expected the first frame's box")
    return Sequence(folder.name, frames, first_box_only(truth, len(frames)), is_judged=False)


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
