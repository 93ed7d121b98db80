"""The calibration of one set of weights: a small JSON file beside them, made by the command ``calibrate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dytrack_ros.policies.thresholds import ThresholdFamily
from dytrack_ros.utils import file_sha256

SUFFIX = ".calibration.json"
NO_FILE = "no calibration file"


class CalibrationError(ValueError):
    """A calibration file that cannot be used: unreadable, or of other weights."""


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate`` measured.

    ``weights_sha256`` names the weights; ``family`` holds the thresholds; ``exits`` one record an exit (quantiles of its
    scores over the frames that reach it, its mean IoU there and everywhere); ``notes`` says how it was made.
    """

    weights_sha256: str
    family: ThresholdFamily
    exits: Sequence[dict] = ()
    notes: dict = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        document = {
            "weights_sha256": self.weights_sha256,
            **self.notes,
            "exits": list(self.exits),
            "family": {
                "thrift": [round(thrift, 4) for thrift in self.family.thrifts],
                "thresholds": [[round(tau, 4) for tau in row] for row in self.family.rows],
            },
        }
        Path(path).write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path, weights: str | Path | None = None) -> Calibration:
        """Reads a calibration file; with ``weights`` (their file), only if it was made for them.

        Raises CalibrationError saying what is wrong and what to do.
        """
        try:
            document = json.loads(Path(path).read_text())
            family = ThresholdFamily(document["family"]["thrift"], document["family"]["thresholds"])
            made_for, exits = str(document["weights_sha256"]), document["exits"]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"{path} is no calibration file ({error}); make one with `calibrate`") from error
        if weights is not None and made_for != (present := file_sha256(weights)):
            raise CalibrationError(
                f"{path} was made for weights {made_for[:12]}..., but {Path(weights).name} is {present[:12]}...; "
                "run `calibrate` on these weights"
            )
        notes = {name: value for name, value in document.items() if name not in ("weights_sha256", "exits", "family")}
        return cls(made_for, family, exits, notes)


def calibration_file(weights: str | Path) -> Path:
    """Where the calibration of a weights file lies: beside it."""
    weights = Path(weights)
    return weights.with_name(weights.stem + SUFFIX)


def calibration_of(weights: str | Path) -> tuple[Calibration | None, str]:
    """The calibration beside ``weights``, or None, and a sentence on which it is or why there is none."""
    path = calibration_file(weights)
    if not path.exists():
        return None, f"default thresholds, for there is {NO_FILE} {path.name}; make it with `calibrate`"
    try:
        calibration = Calibration.load(path, weights)
    except CalibrationError as error:
        return None, f"default thresholds, for {error}"
    return calibration, path.name
