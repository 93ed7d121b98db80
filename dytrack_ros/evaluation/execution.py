"""Runs passes over sequences, in this process or in several, and shows progress over all of them."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Several
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
from tqdm import tqdm

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.all_exits import run_all_exits
from dytrack_ros.evaluation.kept_runs import AnyRun, KeptRuns
from dytrack_ros.evaluation.plan import DifficultyPass, Pass
from dytrack_ros.evaluation.run import OnFrame, run_sequence
from dytrack_ros.evaluation.streaming import run_stream
from dytrack_ros.tracking import DyTracker, TrackerConfig

POLL_S = 0.2


@dataclass(frozen=True)
class TrackerRecipe:
    """How every process makes its tracker: the arguments of :meth:`DyTracker.from_pretrained`, and its ``init_correction``."""

    model: str | None
    engine: str
    device: str
    threads: int | None
    precision: str = "auto"
    init_correction: float = TrackerConfig.init_correction

    @classmethod
    def of(cls, args: argparse.Namespace, weights: Path) -> TrackerRecipe:
        """What the options of :func:`~dytrack_ros.evaluation.options.command_parser` ask for. Raises ValueError for a share
        that is none."""
        if not 0 <= args.init_correction <= 1:
            raise ValueError(f"--init-correction {args.init_correction} must lie in [0, 1]")
        return cls(str(weights), args.engine, args.device, args.threads, args.precision, args.init_correction)

    def make(self) -> DyTracker:
        return DyTracker.from_pretrained(
            self.model,
            engine=self.engine,
            config=TrackerConfig(init_correction=self.init_correction),
            device=self.device,
            threads=self.threads,
            precision=self.precision,
        )

    def shared_by(self, jobs: int) -> TrackerRecipe:
        """The same with so few threads that ``jobs`` processes do not take the cores from each other."""
        if jobs == 1 or self.threads is not None:
            return self
        return replace(self, threads=max(1, len(os.sched_getaffinity(0)) // jobs))


@dataclass(frozen=True)
class Work:
    """A pass and the sequences, as its variant has them, that it goes over."""

    planned: Pass
    sequences: list[Sequence]

    @property
    def frames(self) -> int:
        return sum(map(len, self.sequences))


def perform(
    tracker: DyTracker, planned: Pass, sequence: Sequence, permitted_latency: float, on_frame: OnFrame
) -> AnyRun:
    """One pass over one sequence."""
    if isinstance(planned, DifficultyPass):
        return run_all_exits(tracker, sequence, on_frame)
    tracker.set_policy(planned.policy_for(sequence))
    if planned.stream_hz is None:
        return run_sequence(tracker, sequence, on_frame)
    return run_stream(tracker, sequence, planned.stream_hz, permitted_latency, on_frame)


def kept_of(kept: KeptRuns, work: Work) -> list[AnyRun | None]:
    """What need not be run again. A policy that learns from one sequence to the next starts again at the first."""
    runs = [kept.load(work.planned, sequence) for sequence in work.sequences]
    return [None] * len(runs) if work.planned.learns and None in runs else runs


def run_here(
    tracker: DyTracker, works: Several[Work], kept: KeptRuns, permitted_latency: float
) -> Iterator[tuple[Work, list[AnyRun]]]:
    """Each pass with the runs over its sequences, one after the other in this process."""
    with _bar(works) as bar:
        for work in works:
            bar.set_description(work.planned.label)
            runs = kept_of(kept, work)
            if work.planned.learns:
                tracker.set_policy(work.planned.policy)
            for position, sequence in enumerate(work.sequences):
                before = bar.n

                def show(number: int, _, before=before) -> None:
                    bar.update(before + number + 1 - bar.n)

                if runs[position] is None:
                    runs[position] = perform(tracker, work.planned, sequence, permitted_latency, show)
                    kept.save(work.planned, runs[position])
                show(len(sequence) - 1, None)
            yield work, runs


def run_in_processes(
    recipe: TrackerRecipe, jobs: int, works: Several[Work], kept: KeptRuns, permitted_latency: float
) -> Iterator[tuple[Work, list[AnyRun]]]:
    """As :func:`run_here`, with ``jobs`` processes that take one sequence after the other. Raises what went wrong in
    one of them; what the others had done by then is kept."""
    context = multiprocessing.get_context("spawn")
    tracked = context.Value("q", 0)
    found = [kept_of(kept, work) for work in works]
    already = sum(len(run.sequence) for runs in found for run in runs if run is not None)
    pool = ProcessPoolExecutor(jobs, context, _start_process, (recipe, tracked))
    with _bar(works) as bar, _ended(pool):
        places: dict[Future, tuple[int, int]] = {
            pool.submit(_perform, work.planned, work.sequences[j], permitted_latency): (i, j)
            for i, work in enumerate(works)
            for j, run in enumerate(found[i])
            if run is None
        }
        pending = set(places)
        for work, runs in zip(works, found, strict=True):
            bar.set_description(work.planned.label)
            while None in runs:
                done, pending = wait(pending, POLL_S, FIRST_COMPLETED)
                for future in done:
                    i, j = places[future]
                    found[i][j] = future.result()
                    kept.save(works[i].planned, found[i][j])
                if already + tracked.value > bar.n:
                    bar.update(already + tracked.value - bar.n)
            yield work, runs


def _bar(works: Several[Work]) -> tqdm:
    return tqdm(total=sum(work.frames for work in works), unit="frame", leave=False)


@contextlib.contextmanager
def _ended(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Ends the processes with what they are at; what has not begun is never run."""
    try:
        yield
    finally:
        pool.shutdown(cancel_futures=True)


# A process's own: its tracker, and the number of frames that all of them have tracked.
_tracker: DyTracker
_count: Callable[[int], None]


def _start_process(recipe: TrackerRecipe, tracked) -> None:
    global _tracker, _count
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends it at once, and without a word
    if recipe.threads is not None:
        cv2.setNumThreads(recipe.threads)
    _tracker = recipe.make()

    def count(frames: int) -> None:
        with tracked.get_lock():
            tracked.value += frames

    _count = count


def _perform(planned: Pass, sequence: Sequence, permitted_latency: float) -> AnyRun:
    counted = 0

    def show(number: int, _) -> None:
        nonlocal counted
        _count(number + 1 - counted)
        counted = number + 1

    run = perform(_tracker, planned, sequence, permitted_latency, show)
    show(len(sequence) - 1, None)
    return run
