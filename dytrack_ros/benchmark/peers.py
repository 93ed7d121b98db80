"""Other trackers to compare times with: those of OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

CLASSES = {"KCF": "TrackerKCF", "CSRT": "TrackerCSRT", "NanoTrack": "TrackerNano", "VitTrack": "TrackerVit"}
MODEL_FILES = {"NanoTrack": "--nanotrack BACKBONE.onnx HEAD.onnx", "VitTrack": "--vittrack FILE.onnx"}


@dataclass(frozen=True)
class Peer:
    """One of :data:`CLASSES`, with the ONNX files that it needs."""

    name: str
    files: tuple[str, ...] = ()

    def create(self):
        """A new ``cv2.Tracker``. Raises cv2.error for files that are no such model."""
        tracker_class = getattr(cv2, CLASSES[self.name])
        if not self.files:
            return tracker_class.create()
        parameters = getattr(cv2, f"{CLASSES[self.name]}_Params")()
        if self.name == "NanoTrack":
            parameters.backbone, parameters.neckhead = self.files
        else:
            (parameters.net,) = self.files
        return tracker_class.create(parameters)


class PeerFinder:
    """In a process with another OpenCV: what :func:`available_peers` says there."""

    def __init__(self, nanotrack: tuple[str, str] | None, vittrack: str | None):
        self._found = available_peers(nanotrack, vittrack)

    def facts(self) -> tuple[list[Peer], dict[str, str]]:
        return self._found


def available_peers(
    nanotrack: tuple[str, str] | None = None, vittrack: str | None = None
) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can be measured here, and for every other one the reason why not.

    Raises FileNotFoundError for a model file that does not exist.
    """
    files = {"NanoTrack": tuple(nanotrack or ()), "VitTrack": (vittrack,) if vittrack else ()}
    for path in (path for paths in files.values() for path in paths):
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file {path}")
    peers, missing = [], {}
    for name, tracker_class in CLASSES.items():
        if not hasattr(cv2, tracker_class):
            missing[name] = (
                f"not in this OpenCV ({cv2.__version__}); the package opencv-contrib-python-headless has it, which may lie "
                "in an environment of its own: --peers-python PYTHON"
            )
        elif name in MODEL_FILES and not files[name]:
            missing[name] = f"needs its model: {MODEL_FILES[name]}"
        else:
            peers.append(Peer(name, files.get(name, ())))
    return peers, missing
