"""Cache the results of single sequences in files, so that an interrupted evaluation continues where it stopped.

The folder has one subfolder for each pass, named by the pass and a hash of everything that its results depend on, with
one file for each sequence. Results of other settings, weights or data are thereby never mixed.
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
from dytrack_ros.evaluation.analysis import AllExitsRun
from dytrack_ros.evaluation.run import SequenceRun
from dytrack_ros.evaluation.run_matrix import AllExitsSpec, PassSpec
from dytrack_ros.evaluation.streaming import StreamRun
from dytrack_ros.tracking import TrackResult, TrackState

AnyRun = SequenceRun | AllExitsRun
Arrays = dict[str, np.ndarray]


class ResultCache:
    """The results in ``folder``; without a folder nothing is stored.

    ``settings`` is everything that all passes depend on, ready for JSON.
    """

    def __init__(self, folder: Path | None, settings: dict):
        self._folder, self._settings = folder, settings

    def load(self, spec: PassSpec, sequence: Sequence) -> AnyRun | None:
        """Return the stored run; None if there is none or the sequence has changed."""
        if self._folder is None:
            return None
        try:
            with np.load(self._file(spec, sequence), allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError, BadZipFile):
            return None
        if not np.array_equal(arrays.pop("start"), _start(sequence)):
            return None
        return _all_exits_run(sequence, arrays) if isinstance(spec, AllExitsSpec) else _run(sequence, arrays)

    def save(self, spec: PassSpec, run: AnyRun) -> None:
        """Store a run. Raises OSError."""
        if self._folder is None:
            return
        file = self._file(spec, run.sequence)
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
            (file.parent / "settings.json").write_text(json.dumps(self._all_settings(spec), indent=1) + "\n")
        arrays = _arrays_of_all_exits(run) if isinstance(run, AllExitsRun) else _arrays(run)
        # Written beside and renamed: an interrupted write must not look like a result.
        unfinished = file.with_suffix(".part")
        with unfinished.open("wb") as stream:
            np.savez_compressed(stream, start=_start(run.sequence), **arrays)
        os.replace(unfinished, file)

    def _all_settings(self, spec: PassSpec) -> dict:
        return self._settings | spec.settings()

    def _file(self, spec: PassSpec, sequence: Sequence) -> Path:
        text = json.dumps(self._all_settings(spec), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return self._folder / f"{file_name(spec.label)}-{digest}" / f"{file_name(sequence.name)}.npz"


def file_name(text: str) -> str:
    """Return ``text`` with every character that is unfit for a file name replaced by an underscore."""
    return re.sub(r"[^\w.-]+", "_", text)


def _start(sequence: Sequence) -> np.ndarray:
    """Return what identifies a sequence apart from its name: number of frames and start box."""
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
            exit_index=exit_index,
            exit_scores=_unpadded(exit_scores),
            stage_seconds=_unpadded(stage_seconds),
            seconds=seconds,
            box=tuple(box),
            score=score,
            state=TrackState(state),
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
    """Return rows of different lengths as one array, filled with NaN."""
    padded = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


def _unpadded(row: np.ndarray) -> tuple[float, ...]:
    return tuple(row[~np.isnan(row)].tolist())
