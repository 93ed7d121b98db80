"""Write zips of boxes (GOT-10k: and times) for the servers of the test sets of GOT-10k and TrackingNet."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from dytrack_ros.data.sequences import FULL
from dytrack_ros.evaluation.result_cache import file_name
from dytrack_ros.evaluation.run import SequenceRun


def got10k_files(run: SequenceRun) -> Iterator[tuple[str, str]]:
    """Yield name and text of NAME/NAME_001.txt (x, y, w, h in pixels a line) and NAME/NAME_time.txt (seconds)."""
    name = run.sequence.name
    seconds = np.array([run.initialize_s, *(result.seconds for result in run.results)])
    yield f"{name}/{name}_001.txt", _lines(run.boxes, "{:.3f}")
    yield f"{name}/{name}_time.txt", _lines(seconds[:, None], "{:.8f}")


def trackingnet_files(run: SequenceRun) -> Iterator[tuple[str, str]]:
    """Yield name and text of NAME.txt (x, y, w, h in pixels, a line a frame)."""
    yield f"{run.sequence.name}.txt", _lines(run.boxes, "{:.3f}")


FILES = {"got10k_test": got10k_files, "trackingnet": trackingnet_files}


def check_options(args: argparse.Namespace, dataset: str) -> None:
    """Raise ValueError for options whose results a server cannot judge."""
    if dataset not in FILES:
        raise ValueError(f"--submission is for {' and '.join(FILES)}; {dataset} has no such server")
    if args.variants != ["standard"] or args.init != [FULL] or args.stream or args.first is not None:
        raise ValueError(
            "--submission takes whole standard sequences: leave out --variants, --init, --stream and --first"
        )


def write_submission(folder: Path, dataset: str, label: str, runs: Iterable[SequenceRun]) -> Path:
    """Write ``folder/DATASET-LABEL.zip`` and return its path. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dataset}-{file_name(label)}.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for run in runs:
            for name, text in FILES[dataset](run):
                archive.writestr(name, text)
    return path


def _lines(rows: np.ndarray, form: str) -> str:
    return "".join(",".join(form.format(value) for value in row) + "\n" for row in rows)
