"""TrackingNet (Müller et al., ECCV 2018): TRAIN_0 ... TRAIN_11, and TEST whose truth the server keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dytrack_ros.data.files import NumberedFrames, files_in, first_box, images_in, read_truth
from dytrack_ros.data.sequences import Layout, Sequence


def training_videos(root: Path) -> dict[str, Callable[[], Sequence]]:
    """Readers of the training videos by name CHUNK/VIDEO, from as many of TRAIN_0 ... TRAIN_11 as are there.

    A video lies in ``TRAIN_N/frames/VIDEO/0.jpg`` ... and ``TRAIN_N/anno/VIDEO.txt``. Raises FileNotFoundError if there
    is none.
    """
    chunks = [folder for folder in root.glob("*") if folder.name.upper().startswith("TRAIN_")]
    labels = [
        path
        for chunk in sorted(chunks, key=lambda folder: (len(folder.name), folder.name))
        for path in files_in(chunk / "anno", "*.txt")
    ]
    if not labels:
        raise FileNotFoundError(
            f"{root} has no TRAIN_*/anno/*.txt: give TrackingNet's folder, which holds TRAIN_0 to TRAIN_11"
        )

    def read(path: Path) -> Sequence:
        truth = read_truth(path)
        return Sequence(path.stem, NumberedFrames(path.parents[1] / "frames" / path.stem, 0, 1, len(truth)), truth)

    return {f"{path.parents[1].name}/{path.stem}": partial(read, path) for path in labels}


def _test_folder(folder: Path) -> Path | None:
    """TEST itself, which is ``folder`` or lies in it."""
    for candidate in (folder / "TEST", folder):
        if (candidate / "frames").is_dir() and (candidate / "anno").is_dir():
            return candidate
    return None


def _recognises(folder: Path) -> bool:
    return _test_folder(folder) is not None


def _load(folder: Path) -> list[Sequence]:
    test = _test_folder(folder)
    return [] if test is None else [_load_sequence(test, path) for path in files_in(test / "anno", "*.txt")]


def _load_sequence(test: Path, truth_file: Path) -> Sequence:
    frames = images_in(test / "frames" / truth_file.stem)
    return Sequence(truth_file.stem, frames, first_box(truth_file, len(frames)), is_judged=False)


LAYOUTS = (
    Layout(
        "trackingnet", "TEST/frames/NAME/*.jpg and TEST/anno/NAME.txt with the first box", _recognises, _load, 511
    ),
)  # fmt: skip
