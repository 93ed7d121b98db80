"""Other trackers to compare with: those of OpenCV, in a process of their own and if need be in another Python."""

from __future__ import annotations

import argparse
import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dytrack_ros.benchmark.benches import UNMEASURED, Samples, Size, open_frames, seconds_of
from dytrack_ros.benchmark.worker import Worker
from dytrack_ros.tracking import TrackResult, TrackState
from dytrack_ros.tracking.box import Box, clip_box

CLASSES = {"KCF": "TrackerKCF", "CSRT": "TrackerCSRT", "NanoTrack": "TrackerNano", "VitTrack": "TrackerVit"}
MODEL_FILES = {"NanoTrack": "--nanotrack BACKBONE.onnx HEAD.onnx", "VitTrack": "--vittrack FILE.onnx"}


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
        if self.name == "NanoTrack":
            parameters.backbone, parameters.neckhead = self.files
        else:
            (parameters.net,) = self.files
        return tracker_class.create(parameters)


class PeerTracker:
    """A peer with the methods of ``DyTracker``; it has one exit and no score. A lost target keeps its last box."""

    def __init__(self, peer: Peer):
        self._peer = peer
        self._tracker = peer.create()
        self._box: Box = (0.0, 0.0, 0.0, 0.0)

    def initialize(self, image_bgr: np.ndarray, box) -> None:
        self._tracker = self._peer.create()
        self._box = _inside(image_bgr, box)
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

    def __init__(self, peer: Peer, threads: int | None, data: str | None):
        if threads:
            cv2.setNumThreads(threads)
        self._peer = peer
        self._frames = functools.cache(functools.partial(open_frames, data=data))
        peer.create()  # unfit files are reported before anything is measured

    def facts(self) -> dict:
        return {"device": "cpu", "device_name": None, "made_graphs": False, "opencv": cv2.__version__}

    def end_to_end(self, size: Size, turn: int, frames: int) -> Samples:
        """Time ``init`` and ``update``. ``lost`` has a 1 for each measured frame with a loss, else 0.

        After a loss the tracker is initialised anew, unmeasured.
        """
        samples = defaultdict(list)
        clip = self._frames(size).clip(turn, 1 + UNMEASURED + frames)
        image, box = next(clip)
        tracker = self._peer.create()
        samples[size, "initialize"].append(seconds_of(tracker.init, image, _inside(image, box)))
        for number, (image, box) in enumerate(clip):
            started = time.perf_counter()
            found, _ = tracker.update(image)
            seconds = time.perf_counter() - started
            if number >= UNMEASURED:
                samples[size, "track"].append(seconds)
                samples[size, "lost"].append(float(not found))
            if not found:
                tracker = self._peer.create()
                tracker.init(image, _inside(image, box))
        return dict(samples)

    def run(self, function: Callable, *arguments) -> Any:
        """Return ``function(tracker, *arguments)`` with a new :class:`PeerTracker`."""
        return function(PeerTracker(self._peer), *arguments)


def _inside(image: np.ndarray, box: Box) -> Box:
    """Return the box in whole pixels inside the image, as OpenCV's trackers need it."""
    height, width = image.shape[:2]
    x, y, w, h = map(int, clip_box(box, width, height))
    return x, y, w, h


class PeerFinder:
    """A bench whose facts are :func:`available_peers` in its process, which may have another OpenCV."""

    def __init__(self, nanotrack: tuple[str, str] | None, vittrack: str | None):
        self._found = available_peers(nanotrack, vittrack)

    def facts(self) -> tuple[list[Peer], dict[str, str]]:
        return self._found


def available_peers(
    nanotrack: tuple[str, str] | None = None, vittrack: str | None = None
) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that can run here, and for every other one the reason why not.

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
                f"not in this OpenCV ({cv2.__version__}); install opencv-contrib-python-headless in an "
                "environment of its own and give its interpreter: --peers-python PYTHON"
            )
        elif name in MODEL_FILES and not files[name]:
            missing[name] = f"needs its model: {MODEL_FILES[name]}"
        else:
            peers.append(Peer(name, files.get(name, ())))
    return peers, missing


def find_peers(
    python: str | None, nanotrack: tuple[str, str] | None, vittrack: str | None
) -> tuple[list[Peer], dict[str, str]]:
    """Return :func:`available_peers` of the interpreter ``python``, or of this one if none is given.

    Raises RuntimeError with the reason if it cannot be used, or FileNotFoundError.
    """
    if python is None:
        return available_peers(nanotrack, vittrack)
    worker = Worker(f"peers in {python}", PeerFinder, nanotrack, vittrack, python=python)
    worker.stop()
    return worker.facts


def add_peer_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--nanotrack", nargs=2, metavar=("BACKBONE.onnx", "HEAD.onnx"), help="also run OpenCV's NanoTrack")
    p.add_argument("--vittrack", metavar="FILE.onnx", help="also run OpenCV's VitTrack")
    p.add_argument(
        "--peers-python",
        metavar="PYTHON",
        help="interpreter of an environment with opencv-contrib-python-headless and safetensors, for OpenCV's "
        "trackers: that OpenCV cannot be installed beside another",
    )


def start_peers(args: argparse.Namespace, processes: contextlib.ExitStack) -> dict[str, Worker]:
    """Start a process for each peer whose model files are given; ``processes`` ends them.

    Raises ValueError, RuntimeError or FileNotFoundError with the reason if one cannot run.
    """
    wanted = [name for name, files in (("NanoTrack", args.nanotrack), ("VitTrack", args.vittrack)) if files]
    if not wanted:
        if args.peers_python:
            raise ValueError("--peers-python runs the peers of --nanotrack and --vittrack: give one of them too")
        return {}
    found, missing = find_peers(args.peers_python, args.nanotrack, args.vittrack)
    by_name = {peer.name: peer for peer in found}
    workers = {}
    for name in wanted:
        if name not in by_name:
            raise ValueError(f"{name}: {missing[name]}")
        workers[name] = Worker(name, PeerBench, by_name[name], args.threads, None, python=args.peers_python)
        processes.callback(workers[name].stop)
    return workers
