"""Other trackers to compare with: those of OpenCV."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dytrack_ros.benchmark.benches import UNMEASURED, Samples, Size, SyntheticFrames, seconds_of
from dytrack_ros.tracking import TrackResult, TrackState
from dytrack_ros.tracking.box import Box, clip_box

CLASSES = {"KCF": "TrackerKCF", "CSRT": "TrackerCSRT", "NanoTrack": "TrackerNano"}


@dataclass(frozen=True)
class Peer:
    """One of :data:`CLASSES`, with the ONNX files that it needs."""

    name: str
    files: tuple[str, ...] = ()

    def create(self):
        """Return a new ``cv2.Tracker``. Raises cv2.error for files that are not its model."""
        tracker_class = getattr(cv2, CLASSES[self.name])
        if not self.files:
            return tracker_class.create()
        parameters = getattr(cv2, f"{CLASSES[self.name]}_Params")()
        parameters.backbone, parameters.neckhead = self.files
        return tracker_class.create(parameters)


def available_peers(nanotrack_files: list[str] | None = None) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that can run here, and for every other one the reason why not.

    Raises FileNotFoundError for a model file that does not exist.
    """
    for path in nanotrack_files or ():
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file {path}")
    peers: list[Peer] = []
    missing: dict[str, str] = {}
    for name, tracker_class in CLASSES.items():
        if not hasattr(cv2, tracker_class):
            missing[name] = (
                f"not in this OpenCV ({cv2.__version__}); use an environment with opencv-contrib-python-headless in "
                "place of OpenCV"
            )
        elif name == "NanoTrack" and not nanotrack_files:
            missing[name] = "needs its model: --nanotrack BACKBONE.onnx HEAD.onnx"
        else:
            peers.append(Peer(name, tuple(nanotrack_files or ()) if name == "NanoTrack" else ()))
    return peers, missing


def nanotrack(files: list[str]) -> Peer:
    """Return NanoTrack. Raises ValueError if OpenCV lacks it, FileNotFoundError for a file that does not exist."""
    peers, missing = available_peers(files)
    if "NanoTrack" in missing:
        raise ValueError(f"NanoTrack: {missing['NanoTrack']}")
    return peers[-1]


def add_nanotrack_option(p: argparse.ArgumentParser) -> None:
    p.add_argument("--nanotrack", nargs=2, metavar=("BACKBONE.onnx", "HEAD.onnx"), help="also run OpenCV's NanoTrack")


class PeerTracker:
    """A peer with the methods of ``DyTracker``; it has one exit and no score. A lost target keeps its last box.

    Raises ValueError with OpenCV's reason if the peer's files are not its model.
    """

    def __init__(self, peer: Peer, threads: int | None = None):
        if threads:
            cv2.setNumThreads(threads)
        self._peer = peer
        try:
            self._tracker = peer.create()
        except cv2.error as error:
            raise ValueError(f"{peer.name}: {error}") from None
        self._box: Box = (0.0, 0.0, 0.0, 0.0)

    def initialize(self, image_bgr: np.ndarray, box) -> None:
        height, width = image_bgr.shape[:2]
        x, y, w, h = map(int, clip_box(box, width, height))  # OpenCV's trackers need whole pixels inside the image
        self._box = (x, y, w, h)
        self._tracker = self._peer.create()
        self._tracker.init(image_bgr, self._box)

    def track(self, image_bgr: np.ndarray) -> TrackResult:
        started = time.perf_counter()
        found, box = self._tracker.update(image_bgr)
        seconds = time.perf_counter() - started
        if found:
            x, y, w, h = map(float, box)
            self._box = (x, y, w, h)
        return TrackResult(
            exit_index=1,
            exit_scores=(float("nan"),),
            stage_seconds=(seconds,),
            seconds=seconds,
            box=self._box,
            score=float("nan"),
            state=TrackState.TRACKING if found else TrackState.LOST,
        )


class PeerBench:
    """One of OpenCV's trackers, in a process of its own."""

    device = "cpu"

    def __init__(self, peer: Peer, threads: int | None):
        self._tracker = PeerTracker(peer, threads)  # unfit files are reported before anything is measured

    def end_to_end(self, size: Size, turn: int, frames: int) -> Samples:
        """Time ``initialize`` and ``track``. ``lost`` has a 1 for each measured frame with a loss, else 0.

        After a loss the tracker is initialised anew, unmeasured.
        """
        samples: defaultdict[tuple, list[float]] = defaultdict(list)
        clip = SyntheticFrames(size).clip(turn, 1 + UNMEASURED + frames)
        image, box = next(clip)
        samples[size, "initialize"].append(seconds_of(self._tracker.initialize, image, box))
        for number, (image, box) in enumerate(clip):
            result = self._tracker.track(image)
            lost = result.state is TrackState.LOST
            if number >= UNMEASURED:
                samples[size, "track"].append(result.seconds)
                samples[size, "lost"].append(float(lost))
            if lost:
                self._tracker.initialize(image, box)
        return dict(samples)
