"""The stream: which frames a tracker of a given speed gets to see, and which answers its truths are paired with.

Durations and rates are sums of powers of two, so that the arithmetic of the times is exact.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytrack_ros.data.sequences import Sequence, as_variant
from dytrack_ros.evaluation import metrics
from dytrack_ros.evaluation.run import mean_over_sequences, run_sequence
from dytrack_ros.evaluation.streaming import run_stream
from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker, TrackResult, TrackState

HZ = 4.0
PERIOD = 1 / HZ


@dataclass(frozen=True)
class NumberedSequence(Sequence):
    """Frames that show nothing but their number, and truths whose x is that number."""

    @classmethod
    def of(cls, count: int) -> "NumberedSequence":
        truth = np.array([[number, 0, 10, 10] for number in range(count)], float)
        return cls("numbers", tuple(Path(str(number)) for number in range(count)), truth)

    def image(self, number: int) -> np.ndarray:
        return np.full((1, 1, 3), int(self.frames[number].name), np.uint8)


class TimedTracker:
    """Answers with the number it sees, in the time it is told; after the last duration, that one for ever."""

    def __init__(self, *durations: float, initialise: float = 0.0):
        self.durations, self.initialise_s, self.now, self.seen = durations, initialise, 100.0, []

    def clock(self) -> float:
        return self.now

    def initialize(self, image, box) -> None:
        self.now += self.initialise_s

    def track(self, image) -> TrackResult:
        seconds = self.durations[min(len(self.seen), len(self.durations) - 1)]
        self.now += seconds
        self.seen.append(int(image[0, 0, 0]))
        return TrackResult(
            1, (0.5,), (seconds,), seconds, box=(float(self.seen[-1]), 0, 10, 10), score=0.5, state=TrackState.TRACKING
        )


def stream(tracker: TimedTracker, count: int, hz: float = HZ, latency: float = 0.0):
    return run_stream(tracker, NumberedSequence.of(count), hz, latency, clock=tracker.clock)


def paired(run) -> list[int]:
    return run.boxes[:, 0].astype(int).tolist()


def test_a_fast_tracker_equals_offline_where_its_time_is_permitted():
    offline = run_sequence(TimedTracker(PERIOD / 2), NumberedSequence.of(6))
    assert np.array_equal(stream(TimedTracker(PERIOD / 2), 6, latency=0.5).boxes, offline.boxes)
    assert np.array_equal(stream(TimedTracker(0.0), 6).boxes, offline.boxes), "or where it takes none"
    assert paired(stream(TimedTracker(PERIOD / 2), 6, latency=0.499)) == [0, 0, 1, 2, 3, 4]


def test_the_summary_of_a_stream():
    trace = stream(TimedTracker(2 * PERIOD), 6).trace()
    assert trace["frame_numbers"] == [1, 3, 5] and trace["finished_s"] == [0.75, 1.25, 1.75]
    summary = stream(TimedTracker(2 * PERIOD), 8).summary()
    assert summary["tracked"] == 4 and summary["skipped"] == pytest.approx(3 / 7)
    assert summary["mean_latency_ms"] == summary["p95_latency_ms"] == summary["mean_ms"] == 500
    never = stream(TimedTracker(PERIOD, initialise=4 * PERIOD), 4).summary()
    assert never["skipped"] == 1 and math.isnan(never["mean_ms"])
    one = stream(TimedTracker(PERIOD), 1).summary()
    assert one["skipped"] == 0 and one["tracked"] == 0 and one["exits"] == {}
    assert one["success_auc"] == pytest.approx(20 / 21) and math.isnan(one["mean_score"])


def test_frames_without_the_target_are_tracked_but_not_judged():
    sequence = NumberedSequence.of(5)
    sequence.truth[2:4] = np.nan
    tracker = TimedTracker(PERIOD / 2)
    run = run_stream(tracker, sequence, HZ, clock=tracker.clock)
    assert run.frame_numbers.tolist() == [1, 2, 3, 4] and paired(run) == [0, 0, 1, 2, 3]
    assert run.summary()["success_auc"] == metrics.success_auc(np.array([1.0, 9 / 11, 9 / 11]))


def test_the_rate_is_that_of_the_frames_shown():
    tracker = TimedTracker(PERIOD)
    run = run_stream(tracker, as_variant(NumberedSequence.of(12), "skip3"), HZ, clock=tracker.clock)
    assert tracker.seen == [3, 6, 9] and run.frame_numbers.tolist() == [1, 2, 3]
    assert run.started_s.tolist() == [0.25, 0.5, 0.75]


def test_means_take_streams_without_an_answer():
    summaries = [stream(TimedTracker(PERIOD / 2), 6).summary(), stream(TimedTracker(PERIOD), 1).summary()]
    mean = mean_over_sequences(summaries)
    assert mean["mean_ms"] == 125 and mean["skipped"] == 0 and mean["exits"] == {1: 5}
    assert mean["success_auc"] == np.mean([summary["success_auc"] for summary in summaries])
    assert "skipped" not in mean_over_sequences([run_sequence(TimedTracker(0), NumberedSequence.of(3)).summary()])


@pytest.mark.parametrize(
    ("hz", "latency", "message"),
    [(0, 0, "must be positive"), (math.nan, 0, "must be positive"), (HZ, 1, r"\[0, 1\)")],
)
def test_impossible_rates_and_latencies_are_refused(hz, latency, message):
    with pytest.raises(ValueError, match=message):
        stream(TimedTracker(PERIOD), 3, hz=hz, latency=latency)


def test_a_policy_is_told_of_every_tracked_frame_and_no_other(tiny_weights):
    class Recorder(FixedExit):
        def __init__(self):
            super().__init__(1)
            self.observed, self.elapsed = [], []

        def should_exit(self, exit_index, score, elapsed_s):
            self.elapsed.append(elapsed_s)
            return super().should_exit(exit_index, score, elapsed_s)

        def observe(self, result):
            self.observed.append(result)

    class Photographs(NumberedSequence):
        def image(self, number):
            return np.full((48, 64, 3), number, np.uint8)

    recorder = Recorder()
    tracker = DyTracker.from_pretrained(tiny_weights, policy=recorder)
    times = iter(np.arange(0, 100) * 0.375)  # every call takes one and a half periods
    run = run_stream(tracker, Photographs.of(9), HZ, clock=lambda: next(times))
    assert run.frame_numbers.tolist() == [1, 3, 4, 6, 7]
    assert recorder.observed == list(run.results)
    assert all(0 < elapsed <= result.seconds for elapsed, result in zip(recorder.elapsed, run.results, strict=True)), (
        "a policy sees the real time of its frame, not the stream's"
    )


sixteenths = st.integers(0, 100).map(lambda value: value / 16)


@settings(deadline=None)
@given(
    count=st.integers(1, 20), durations=st.lists(sixteenths, min_size=20, max_size=20), initialise=sixteenths,
    hz=st.sampled_from([0.25, 1.0, 8.0]), latency=st.sampled_from([0.0, 0.25, 0.5, 0.9375]),
)  # fmt: skip
def test_against_a_stream_that_ticks(count, durations, initialise, hz, latency):
    """The same stream, tick by tick instead of from event to event."""
    run = stream(TimedTracker(*durations, initialise=initialise), count, hz, latency)

    tick = 1 / 16 / max(hz, 1)  # divides every time that can occur
    newest, held, busy_until, working_on, tracked, held_at_due = 0, 0, initialise, None, [], {}
    for step in range(math.ceil(count / hz / tick)):
        now = step * tick
        newest = min(math.floor(now * hz), count - 1)
        while busy_until <= now:
            if working_on is not None:
                held, working_on = working_on, None
            last = tracked[-1] if tracked else 0
            if newest == last:
                break
            working_on = newest
            busy_until = now + durations[len(tracked)]
            tracked.append(newest)
        judged = (now * hz - latency) % 1 == 0 and now * hz >= latency
        if judged:
            held_at_due[round(now * hz - latency)] = held
    assert run.frame_numbers.tolist() == tracked
    assert paired(run) == [held_at_due[number] for number in range(count)]
