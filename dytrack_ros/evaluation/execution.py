"""Run passes over sequences, in this process or in several, with one progress bar over all of them."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Several
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
from tqdm import tqdm

from dytrack_ros.data.sequences import Sequence
from dytrack_ros.evaluation.analysis import run_all_exits
from dytrack_ros.evaluation.result_cache import AnyRun, ResultCache
from dytrack_ros.evaluation.run import OnFrame, SequenceRun
from dytrack_ros.evaluation.run_matrix import AllExitsSpec, PassSpec, RunSpec
from dytrack_ros.evaluation.streaming import run_at
from dytrack_ros.tracking import DyTracker, TrackerConfig

POLL_S = 0.2

RunPeer = Callable[[Sequence, "float | None", float], SequenceRun]
"""Runs a peer over a sequence: sequence, rate in Hz (None offline), permitted latency in frames."""


@dataclass(frozen=True)
class TrackerRecipe:
    """The arguments from which every process makes its tracker."""

    model: str | None
    engine: str
    device: str
    threads: int | None
    precision: str = "auto"
    init_correction: float = TrackerConfig.init_correction

    @classmethod
    def of(cls, args: argparse.Namespace, weights: Path) -> TrackerRecipe:
        """Take the options of :func:`dytrack_ros.cli.options.sequence_parser`."""
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
        """Return the recipe with the cores divided among ``jobs`` processes, unless threads were given."""
        if jobs == 1 or self.threads is not None:
            return self
        return replace(self, threads=max(1, len(os.sched_getaffinity(0)) // jobs))


@dataclass(frozen=True)
class Work:
    """A pass and its sequences, as its variant has them, of the set ``set_name``."""

    spec: PassSpec
    sequences: list[Sequence]
    cache: ResultCache
    set_name: str = ""

    @property
    def frames(self) -> int:
        return sum(map(len, self.sequences))

    @property
    def label(self) -> str:
        return f"{self.set_name}: {self.spec.label}" if self.set_name else self.spec.label

    def cached_runs(self) -> list[AnyRun | None]:
        """Return the stored runs, None where a sequence is still to be run.

        A policy that learns from one sequence to the next starts again at the first. Peers are not cached.
        """
        if self.spec.is_peer:
            return [None] * len(self.sequences)
        runs = [self.cache.load(self.spec, sequence) for sequence in self.sequences]
        return [None] * len(runs) if self.spec.learns and None in runs else runs


def perform(
    tracker: DyTracker, spec: PassSpec, sequence: Sequence, permitted_latency: float, on_frame: OnFrame
) -> AnyRun:
    """Run one pass over one sequence."""
    if isinstance(spec, AllExitsSpec):
        return run_all_exits(tracker, sequence, on_frame)
    policy = spec.policy_for(sequence)
    if policy is None:
        raise ValueError(f"{spec.label}: a peer has no exit policy and does not run in a DyTracker")
    tracker.set_policy(policy)
    return run_at(tracker, sequence, spec.stream_hz, permitted_latency, on_frame)


def run_here(
    tracker: DyTracker, works: Several[Work], permitted_latency: float, peers: Mapping[str, RunPeer]
) -> Iterator[tuple[Work, list[AnyRun]]]:
    """Yield each pass with the runs over its sequences, computed one after the other in this process."""
    with _bar(works) as bar:
        for work in works:
            bar.set_description(work.label)
            if work.spec.is_peer:
                yield work, _run_peer(work, permitted_latency, peers, bar)
                continue
            runs = work.cached_runs()
            if isinstance(work.spec, RunSpec) and work.spec.learns and work.spec.policy is not None:
                tracker.set_policy(work.spec.policy)  # gives it the exit costs even if every run is cached
            for position, sequence in enumerate(work.sequences):
                before = bar.n

                def show(number: int, _, before=before) -> None:
                    bar.update(before + number + 1 - bar.n)

                run = runs[position]
                if run is None:
                    run = runs[position] = perform(tracker, work.spec, sequence, permitted_latency, show)
                    work.cache.save(work.spec, run)
                show(len(sequence) - 1, None)
            yield work, [run for run in runs if run is not None]


def run_in_processes(
    recipe: TrackerRecipe, jobs: int, works: Several[Work], permitted_latency: float, peers: Mapping[str, RunPeer]
) -> Iterator[tuple[Work, list[AnyRun]]]:
    """Yield as :func:`run_here`, with ``jobs`` processes that take one sequence after the other.

    Raises the first error of a process; runs finished by then are cached.
    """
    context = multiprocessing.get_context("spawn")
    tracked = context.Value("q", 0)
    found = [work.cached_runs() for work in works]
    already = sum(len(run.sequence) for runs in found for run in runs if run is not None)
    pool = ProcessPoolExecutor(jobs, context, _start_process, (recipe, tracked))
    with _bar(works) as bar, _ended(pool):
        places: dict[Future, tuple[int, int]] = {
            pool.submit(_perform, work.spec, work.sequences[j], permitted_latency): (i, j)
            for i, work in enumerate(works)
            if not work.spec.is_peer
            for j, run in enumerate(found[i])
            if run is None
        }
        pending = set(places)
        for work, runs in zip(works, found, strict=True):
            bar.set_description(work.label)
            if work.spec.is_peer:
                runs[:] = _run_peer(work, permitted_latency, peers, bar)
                already += work.frames
            while None in runs:
                done, pending = wait(pending, POLL_S, FIRST_COMPLETED)
                for future in done:
                    i, j = places[future]
                    run = found[i][j] = future.result()
                    works[i].cache.save(works[i].spec, run)
                if already + tracked.value > bar.n:
                    bar.update(already + tracked.value - bar.n)
            yield work, [run for run in runs if run is not None]


def _run_peer(work: Work, permitted_latency: float, peers: Mapping[str, RunPeer], bar: tqdm) -> list[AnyRun]:
    if not isinstance(work.spec, RunSpec):
        raise ValueError(f"{work.label} is not a run of a peer")
    runs: list[AnyRun] = []
    for sequence in work.sequences:
        runs.append(peers[work.spec.policy_name](sequence, work.spec.stream_hz, permitted_latency))
        bar.update(len(sequence))
    return runs


def _bar(works: Several[Work]) -> tqdm:
    return tqdm(total=sum(work.frames for work in works), unit="frame", leave=False)


@contextlib.contextmanager
def _ended(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Shut the pool down at the end: running tasks finish, queued ones are cancelled."""
    try:
        yield
    finally:
        pool.shutdown(cancel_futures=True)


# Of each worker process: its tracker, and a function that adds to the number of frames tracked by all.
_tracker: DyTracker
_count: Callable[[int], None]


def _start_process(recipe: TrackerRecipe, tracked) -> None:
    global _tracker, _count
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process at once, without a traceback
    if recipe.threads is not None:
        cv2.setNumThreads(recipe.threads)
    _tracker = recipe.make()

    def count(frames: int) -> None:
        with tracked.get_lock():
            tracked.value += frames

    _count = count


def _perform(spec: PassSpec, sequence: Sequence, permitted_latency: float) -> AnyRun:
    counted = 0

    def show(number: int, _) -> None:
        nonlocal counted
        _count(number + 1 - counted)
        counted = number + 1

    run = perform(_tracker, spec, sequence, permitted_latency, show)
    show(len(sequence) - 1, None)
    return run
