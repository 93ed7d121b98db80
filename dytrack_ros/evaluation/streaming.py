"""Runs a tracker over a sequence as if a camera delivered it: a tracker that is late is judged as late.

The method is the latency-aware evaluation of trackers, e-LAE (Li et al., "PVT++", ICCV 2023, and its code,
``tools/test_rt.py`` and ``tools/rt_eva_new.py``), which pairs as streaming perception does (Li et al., "Towards
Streaming Perception", ECCV 2020). Times are in seconds since frame 0 arrived, at a rate of ``hz`` frames a second:

- Frame i arrives at i / hz. A free tracker takes the newest frame that has arrived, and the older ones are skipped;
  if it has already tracked the newest, it waits for the next. The stream ends at N / hz.
- The truth of frame i is due at (i + sigma) / hz, where sigma in [0, 1) is the permitted latency in frames, and is
  paired with the last answer finished by then (<=). Sigma 0 is strict: an answer that takes any time at all can at
  best be paired with the next frame's truth, so even a fast tracker's boxes are one frame old.
- The clock starts when frame 0 arrives with its box. The initialisation takes its time, and frames that arrive
  meanwhile are late or skipped, but its box holds from 0 on, until the first answer.

The clock is virtual: it advances by the measured time of each call of the tracker, and waiting or reading an image
takes none of it. So results depend on the machine, and a slow disk does not change them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.run import OnFrame, SequenceRun, times_ms
from dytrack_ros.tracking.tracker import DyTracker


@dataclass(frozen=True)
class StreamRun(SequenceRun):
    """One pass over a stream. ``boxes`` (N, 4) hold for each frame the answer that its truth is paired with,
    ``results`` the M frames tracked; ``frame_numbers`` (M,) says which those were, ``started_s`` and ``finished_s``
    (M,) when, in seconds since frame 0 arrived."""

    hz: float
    permitted_latency: float
    frame_numbers: np.ndarray
    started_s: np.ndarray
    finished_s: np.ndarray

    @property
    def tracked_frames(self) -> np.ndarray:
        return self.frame_numbers

    @property
    def latencies_s(self) -> np.ndarray:
        """From each tracked frame's arrival to its answer (M,)."""
        return self.finished_s - self.frame_numbers / self.hz

    def summary(self) -> dict:
        """As of any run, with how many frames after the first were tracked, the share that was skipped, and how old
        the answers were when they came."""
        to_track = len(self.sequence) - 1
        return {
            **super().summary(),
            "tracked": len(self.results),
            "skipped": 1 - len(self.results) / to_track if to_track else 0.0,
            **times_ms(self.latencies_s, "latency_"),
        }

    def trace(self) -> dict:
        return {
            **super().trace(),
            "frame_numbers": self.frame_numbers.tolist(),
            "finished_s": self.finished_s.round(6).tolist(),
        }


def run_stream(
    tracker: DyTracker,
    sequence: Sequence,
    hz: float,
    permitted_latency: float = 0.0,
    on_frame: OnFrame | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> StreamRun:
    """Initialises as :func:`run_sequence` does and tracks what a stream of ``hz`` frames a second leaves time for.

    ``permitted_latency`` is sigma of e-LAE, in frames. ``clock`` gives seconds and times the tracker's calls.
    ``on_frame`` is told the number and the result of each tracked frame. Raises ValueError for a rate that is not
    positive or a latency outside [0, 1).
    """
    if not (math.isfinite(hz) and hz > 0):
        raise ValueError(f"a stream of {hz} frames a second is none: the rate must be positive")
    if not 0 <= permitted_latency < 1:
        raise ValueError(f"permitted latency {permitted_latency} must lie in [0, 1), in frames")

    arrivals = np.arange(len(sequence)) / hz
    end = len(sequence) / hz
    numbers, started, finished, results = [], [], [], []

    def timed(call: Callable, *arguments):
        before = clock()
        value = call(*arguments)
        return value, clock() - before

    _, initialize_s = timed(tracker.initialize, sequence.image(0), sequence.start_box)
    now = initialize_s
    if on_frame is not None:
        on_frame(0, None)
    number = 0
    while number + 1 < len(sequence):
        now = max(now, arrivals[number + 1])
        if now >= end:
            break
        number = int(np.searchsorted(arrivals, now, side="right")) - 1
        result, seconds = timed(tracker.track, sequence.image(number))
        numbers.append(number)
        started.append(now)
        now += seconds
        finished.append(now)
        results.append(result)
        if on_frame is not None:
            on_frame(number, result)

    answers = np.array([sequence.start_box, *(result.box for result in results)], float)
    due = (np.arange(len(sequence)) + permitted_latency) / hz
    boxes = answers[np.searchsorted(finished, due, side="right")]
    return StreamRun(
        sequence, boxes, tuple(results), initialize_s, hz, permitted_latency,
        np.array(numbers, int), np.array(started, float), np.array(finished, float),
    )  # fmt: skip
