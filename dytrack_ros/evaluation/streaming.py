"""Run a tracker over a sequence as if a camera delivered it: a late answer is judged as late.

The method is the latency-aware evaluation of trackers, e-LAE (Li et al., "PVT++", ICCV 2023, and its code,
``tools/test_rt.py`` and ``tools/rt_eva_new.py``), which pairs as streaming perception does (Li et al., "Towards
Streaming Perception", ECCV 2020). Times are in seconds since frame 0 arrived, at a rate of ``hz`` frames a second:

- Frame i arrives at i / hz. A free tracker takes the newest frame that has arrived; older ones are skipped. If it has
  already tracked the newest, it waits for the next. The stream ends at N / hz.
- The truth of frame i is due at (i + sigma) / hz, where sigma in [0, 1) is the permitted latency in frames. It is
  paired with the last answer finished by then (<=). With sigma 0 an answer that takes any time at all is paired with
  the next frame's truth at best, so even a fast tracker's boxes are one frame old.
- The clock starts when frame 0 arrives with its box. ``initialize`` takes its time, and frames that arrive meanwhile
  are late or skipped, but the init box is the answer from time 0 until the first tracked frame.

The clock is virtual: it advances by the measured time of each call of the tracker, and not while waiting or reading an
image. So results depend on the machine's speed, but not on its disk.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.run import OnFrame, SequenceRun, Tracker, run_sequence, times_ms


@dataclass(frozen=True)
class StreamRun(SequenceRun):
    """One pass over a stream of N frames, of which M were tracked.

    Attributes:
        boxes: (N, 4), the answer that each frame's truth is paired with.
        frame_numbers: (M,), the numbers of the tracked frames.
        started_s, finished_s: (M,), start and end of each ``track`` call in seconds since frame 0 arrived.
    """

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
        """Seconds from each tracked frame's arrival to its answer: (M,)."""
        return self.finished_s - self.frame_numbers / self.hz

    def summary(self) -> dict:
        """Add to :meth:`SequenceRun.summary` the tracked frames, the skipped share and the latencies."""
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
    tracker: Tracker,
    sequence: Sequence,
    hz: float,
    permitted_latency: float = 0.0,
    on_frame: OnFrame | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> StreamRun:
    """Initialise as :func:`run_sequence` does and track the frames that a stream of ``hz`` Hz leaves time for.

    Args:
        permitted_latency: sigma of e-LAE, in frames.
        on_frame: called with number and result of each tracked frame.
        clock: returns seconds; times the tracker's calls.

    Raises ValueError for a rate that is not positive or a latency outside [0, 1).
    """
    if not (math.isfinite(hz) and hz > 0):
        raise ValueError(f"the rate of a stream is {hz} Hz; it must be positive")
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


def run_at(
    tracker: Tracker,
    sequence: Sequence,
    stream_hz: float | None = None,
    permitted_latency: float = 0.0,
    on_frame: OnFrame | None = None,
) -> SequenceRun:
    """Run offline (``stream_hz`` None) or in a stream."""
    if stream_hz is None:
        return run_sequence(tracker, sequence, on_frame)
    return run_stream(tracker, sequence, stream_hz, permitted_latency, on_frame)
