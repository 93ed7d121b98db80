"""Cache the results of single sequences in files, so that an interrupted evaluation continues where it stopped.

The folder has one subfolder for each pass, named by the pass and a hash of everything that its results depend on, with
one file (gzipped JSON) for each sequence. Results of other settings, weights or data are thereby never mixed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.analysis import AllExitsRun
from dytrack_ros.evaluation.run import SequenceRun
from dytrack_ros.evaluation.run_matrix import PassSpec
from dytrack_ros.evaluation.streaming import StreamRun
from dytrack_ros.tracking import TrackResult, TrackState

AnyRun = SequenceRun | AllExitsRun
KINDS: dict[str, type[SequenceRun] | type[AllExitsRun]] = {
    kind.__name__: kind for kind in (SequenceRun, StreamRun, AllExitsRun)
}


class ResultCache:
    """The results in ``folder``; without a folder nothing is stored.

    ``settings`` is everything that all passes depend on, ready for JSON.
    """

    def __init__(self, folder: Path | None, settings: dict):
        self._folder, self._settings = folder, settings

    def load(self, spec: PassSpec, sequence: Sequence) -> AnyRun | None:
        """Return the stored run; None if there is none, it is damaged, or the sequence has changed."""
        if self._folder is None:
            return None
        try:
            with gzip.open(self._file(self._folder, spec, sequence), "rt") as file:
                document = json.load(file)
            return _run(sequence, document) if document.pop("start") == _start(sequence) else None
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return None

    def save(self, spec: PassSpec, run: AnyRun) -> None:
        """Store a run. Raises OSError."""
        if self._folder is None:
            return
        file = self._file(self._folder, spec, run.sequence)
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
            (file.parent / "settings.json").write_text(json.dumps(self._settings | spec.settings(), indent=1) + "\n")
        # Written beside and renamed: an interrupted write must not look like a result.
        unfinished = file.with_suffix(".part")
        with gzip.open(unfinished, "wt") as stream:
            json.dump({"start": _start(run.sequence), **_document(run)}, stream)
        os.replace(unfinished, file)

    def _file(self, folder: Path, spec: PassSpec, sequence: Sequence) -> Path:
        text = json.dumps(self._settings | spec.settings(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return folder / f"{file_name(spec.label)}-{digest}" / f"{file_name(sequence.name)}.json.gz"


def file_name(text: str) -> str:
    """Return ``text`` with every character that is unfit for a file name replaced by an underscore."""
    return re.sub(r"[^\w.-]+", "_", text)


def _start(sequence: Sequence) -> list[float]:
    """Return what identifies a sequence apart from its name: number of frames and start box."""
    return [len(sequence), *sequence.start_box.tolist()]


def _document(run: AnyRun) -> dict:
    values = {field.name: getattr(run, field.name) for field in fields(run) if field.name != "sequence"}
    document = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    if isinstance(run, SequenceRun):
        document["results"] = [asdict(result) for result in run.results]
    return {"kind": type(run).__name__, **document}


def _run(sequence: Sequence, document: dict) -> AnyRun:
    kind = KINDS[document.pop("kind")]
    results = tuple(_result(values) for values in document.pop("results", ()))
    given: dict[str, Any] = {
        name: np.array(value, float) for name, value in document.items() if isinstance(value, list)
    }
    if "frame_numbers" in given:
        given["frame_numbers"] = given["frame_numbers"].astype(int)
    if issubclass(kind, SequenceRun):
        given["results"] = results
    return kind(sequence, **document | given)


def _result(values: dict) -> TrackResult:
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return TrackResult(**plain | {"state": TrackState(plain["state"])})
