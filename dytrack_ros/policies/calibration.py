"""The calibration of one set of weights: a JSON file beside them, written by ``dytrack calibrate``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dytrack_ros.policies.thresholds import ThresholdFamily
from dytrack_ros.utils import file_sha256

SUFFIX = ".calibration.json"
NO_FILE = "no calibration file"


class CalibrationError(ValueError):
    """A calibration file that is unreadable or belongs to other weights."""


@dataclass(frozen=True)
class ExitMix:
    """The mean IoU of the calibration's frames if these ``shares`` of them stop at exits 1 ... K."""

    shares: tuple[float, ...]
    iou: float

    @classmethod
    def of(cls, row: Mapping[str, Any], exit_count: int) -> ExitMix:
        """Read a record of the file. Raises KeyError, TypeError or ValueError for another."""
        shares = tuple(float(share) for share in row["shares"])
        if len(shares) != exit_count:
            raise ValueError(f"shares {shares} of {exit_count} exits")
        return cls(shares, float(row["iou"]))

    def record(self) -> dict[str, Any]:
        """Return the record for the file."""
        return {"iou": round(self.iou, 4), "shares": [round(share, 3) for share in self.shares]}


@dataclass(frozen=True)
class Calibration:
    """The measurements of ``dytrack calibrate``.

    Attributes:
        weights_sha256: of the weights that were measured.
        family: the exit thresholds.
        exits: one record for each exit: quantiles of its scores over the frames that reach it, its mean IoU over these
            and over all frames.
        notes: how the measurement was made.
        thresholds: the asked thresholds tau_1 ... tau_{K-1} to start with; empty in older files.
        asked_mix: what these thresholds give; None in older files.
        mixes: what the rows of the family give, from full depth to the first exit; empty in older files.
    """

    weights_sha256: str
    family: ThresholdFamily
    exits: Sequence[Mapping[str, Any]] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Sequence[float] = ()
    asked_mix: ExitMix | None = None
    mixes: Sequence[ExitMix] = ()

    def save(self, path: str | Path) -> None:
        document = {
            "weights_sha256": self.weights_sha256,
            **self.notes,
            "thresholds": [round(tau, 4) for tau in self.thresholds],
            "thresholds_mix": self.asked_mix and self.asked_mix.record(),
            "mixes": [mix.record() for mix in self.mixes],
            "exits": list(self.exits),
            "family": {
                "thrift": [round(thrift, 4) for thrift in self.family.thrifts],
                "thresholds": [[round(tau, 4) for tau in row] for row in self.family.rows],
            },
        }
        Path(path).write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path, weights: str | Path | None = None) -> Calibration:
        """Read a calibration file. With ``weights``, their file, it must have been made for them.

        Raises CalibrationError with the reason and what to do.
        """
        try:
            document = json.loads(Path(path).read_text())
            family = ThresholdFamily(document["family"]["thrift"], document["family"]["thresholds"])
            made_for, exits = str(document["weights_sha256"]), document["exits"]
            thresholds = tuple(float(tau) for tau in document.get("thresholds", ()))
            asked = document.get("thresholds_mix")
            asked_mix = ExitMix.of(asked, family.exit_count) if asked else None
            mixes = tuple(ExitMix.of(row, family.exit_count) for row in document.get("mixes", ()))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"{path} is no calibration file ({error}); make one: dytrack calibrate") from error
        if weights is not None and made_for != (present := file_sha256(weights)):
            raise CalibrationError(
                f"{path} was made for weights {made_for[:12]}..., but {Path(weights).name} is {present[:12]}...; "
                "run dytrack calibrate on these weights"
            )
        own = ("weights_sha256", "exits", "family", "thresholds", "thresholds_mix", "mixes")
        notes = {name: value for name, value in document.items() if name not in own}
        return cls(made_for, family, exits, notes, thresholds, asked_mix, mixes)


def calibration_file(weights: str | Path) -> Path:
    """Return the path of the calibration file of a weights file; it need not exist."""
    weights = Path(weights)
    return weights.with_name(weights.stem + SUFFIX)


def calibration_of(weights: str | Path) -> tuple[Calibration | None, str]:
    """Return the calibration beside ``weights``, or None, and a sentence: its name, or why there is none."""
    path = calibration_file(weights)
    if not path.exists():
        return None, f"default thresholds: {NO_FILE} {path.name}; make it with dytrack calibrate"
    try:
        return Calibration.load(path, weights), path.name
    except CalibrationError as error:
        return None, f"default thresholds: {error}"
