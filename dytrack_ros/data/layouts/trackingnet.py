"""TrackingNet's test set (Müller et al., ECCV 2018), whose truth the server keeps: TEST/frames/NAME, TEST/anno/NAME.txt."""

from __future__ import annotations

from pathlib import Path

from dytrack_ros.data.layouts.files import Layout, first_box_only, images_in
from dytrack_ros.data.sequences import Sequence, read_truth


def _test_folder(folder: Path) -> Path | None:
    """TEST itself, given it or the one above it."""
    for candidate in (folder / "TEST", folder):
        if (candidate / "frames").is_dir() and (candidate / "anno").is_dir():
            return candidate
    return None


def _recognises(folder: Path) -> bool:
    return _test_folder(folder) is not None


def _load(folder: Path) -> list[Sequence]:
    test = _test_folder(folder)
    return [] if test is None else [_load_sequence(test, path) for path in sorted((test / "anno").glob("*.txt"))]


def _load_sequence(test: Path, truth_file: Path) -> Sequence:
    frames, truth = images_in(test / "frames" / truth_file.stem), read_truth(truth_file)
    if not len(truth):
        raise ValueError(f"{truth_file} is empty: expected the first frame's box")
    return Sequence(truth_file.stem, frames, first_box_only(truth, len(frames)), is_judged=False)


LAYOUTS = (
    Layout(
        "trackingnet", "TEST/frames/NAME/*.jpg and TEST/anno/NAME.txt with the first box", _recognises, _load, 511
    ),
)  # fmt: skip
