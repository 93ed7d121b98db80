"""Results of single sequences, kept in files as they are done, so that a run that was cut short goes on where it was.

A folder has a folder for every pass, named by it and by a hash of all that its results depend on, and there a file for
every sequence. Whatever was run with other settings, weights or data is thereby left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.all_exits import AllExitsRun
from dytrack_ros.evaluation.plan import DifficultyPass, Pass
from dytrack_ros.evaluation.run import SequenceRun
from dytrack_ros.evaluation.streaming import StreamRun
from dytrack_ros.tracking import TrackResult, TrackState

AnyRun = SequenceRun | AllExitsRun
Arrays = dict[str, np.ndarray]


class KeptRuns:
    """The results in ``folder``; None keeps nothing. ``settings`` is what every pass depends on, ready for JSON."""

    def __init__(self, folder: Path | None, settings: dict):
        self._folder, self._settings = folder, settings

    def load(self, work: Pass, sequence: Sequence) -> AnyRun | None:
        """What was kept of a sequence; None if nothing was, or if the sequence has changed."""
        if self._folder is None:
            return None
        try:
            with np.load(self._file(work, sequence), allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError, BadZipFile):
            return None
        if not np.array_equal(arrays.pop("start"), _start(sequence)):
            return None
        return _all_exits_run(sequence, arrays) if isinstance(work, DifficultyPass) else _run(sequence, arrays)

    def save(self, work: Pass, run: AnyRun) -> None:
        """Raises OSError where nothing can be written."""
        if self._folder is None:
            return
        file = self._file(work, run.sequence)
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
            (file.parent / "settings.json").write_text(json.dumps(self._all_settings(work), indent=1) + "\n")
        arrays = _arrays_of_all_exits(run) if isinstance(run, AllExitsRun) else _arrays(run)
        # Whole or not at all: an interrupted write must not look like a result.
        unfinished = file.with_suffix(".part")
        with unfinished.open("wb") as stream:
            np.savez_compressed(stream, start=_start(run.sequence), **arrays)
        os.replace(unfinished, file)

    def _all_settings(self, work: Pass) -> dict:
        return self._settings | work.settings()

    def _file(self, work: Pass, sequence: Sequence) -> Path:
        text = json.dumps(self._all_settings(work), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return self._folder / f"{file_name(work.label)}-{digest}" / f"{file_name(sequence.name)}.npz"


def file_name(text: str) -> str:
    """``text`` with an underscore for whatever does not belong into the name of a file."""
    return re.sub(r"[^\w.-]+", "_", text)


def _start(sequence: Sequence) -> np.ndarray:
    """What tells one sequence from another of that name: its number of frames and what a tracker is started with."""
    return np.array([len(sequence), *sequence.start_box])


def _arrays(run: SequenceRun) -> Arrays:
    results = run.results
    arrays = {
        "boxes": run.boxes,
        "initialize_s": np.array(run.initialize_s),
        "result_boxes": np.array([result.box for result in results], float).reshape(-1, 4),
        "score": np.array([result.score for result in results], float),
        "exit_scores": _padded([result.exit_scores for result in results]),
        "stage_seconds": _padded([result.stage_seconds for result in results]),
        "exit_index": np.array([result.exit_index for result in results], int),
        "seconds": np.array([result.seconds for result in results], float),
        "state": np.array([result.state for result in results], int),
    }
    if isinstance(run, StreamRun):
        arrays |= {
            "stream": np.array([run.hz, run.permitted_latency]),
            "frame_numbers": run.frame_numbers,
            "started_s": run.started_s,
            "finished_s": run.finished_s,
        }
    return arrays


def _run(sequence: Sequence, arrays: Arrays) -> SequenceRun:
    results = tuple(
        TrackResult(
            exit_index, _unpadded(exit_scores), _unpadded(stage_seconds), seconds,
            box=tuple(box), score=score, state=TrackState(state),
        )
        for box, score, exit_index, exit_scores, stage_seconds, seconds, state in zip(
            *(arrays[name].tolist() for name in ("result_boxes", "score", "exit_index")),
            arrays["exit_scores"], arrays["stage_seconds"],
            *(arrays[name].tolist() for name in ("seconds", "state")), strict=True,
        )
    )  # fmt: skip
    common = (sequence, arrays["boxes"], results, float(arrays["initialize_s"]))
    if "stream" not in arrays:
        return SequenceRun(*common)
    hz, latency = arrays["stream"].tolist()
    return StreamRun(*common, hz, latency, arrays["frame_numbers"], arrays["started_s"], arrays["finished_s"])


def _arrays_of_all_exits(run: AllExitsRun) -> Arrays:
    return {"scores": run.scores, "boxes": run.boxes}


def _all_exits_run(sequence: Sequence, arrays: Arrays) -> AllExitsRun:
    return AllExitsRun(sequence, arrays["scores"], arrays["boxes"])


def _padded(rows: list[tuple[float, ...]]) -> np.ndarray:
    """Rows of different lengths in one array, with NaN behind."""
    padded = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


def _unpadded(row: np.ndarray) -> tuple[float, ...]:
    return tuple(row[~np.isnan(row)].tolist())
