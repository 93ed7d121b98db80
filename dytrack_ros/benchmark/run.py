"""Who takes part in a benchmark, and their turns: round by round, so that a drift of the machine hits all alike."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.benchmark.peers import Peer, PeerFinder, available_peers
from dytrack_ros.benchmark.worker import EngineBench, MatrixBench, PeerBench, Samples, Size, Worker

# Set for the one process that multiplies matrices: NumPy's library reads it when it is loaded.
BLAS_THREADS = "OPENBLAS_NUM_THREADS"


@dataclass(frozen=True)
class Plan:
    """What is measured: ``rounds`` in which each contestant has a turn of ``frames`` frames at each of ``sizes``; peers by
    the interpreter ``peers_python`` if one is given."""

    rounds: int
    frames: int
    sizes: tuple[Size, ...]
    device: str = "auto"
    threads: int | None = None
    data: str | None = None
    peers_python: str | None = None


@dataclass(frozen=True)
class Start:
    """Seconds until the first frame could be taken, from starting the process. ``cold_s`` is that of a start that had to
    make the network's graphs first, None where they were in the cache or the engine needs none."""

    seconds: float
    graphs: str
    cold_s: float | None = None


@dataclass
class Contestant:
    """An engine with a model, a peer (``model`` None), or the matrix product (``name`` None), and what it measured."""

    worker: Worker
    start: Start
    name: str | None = None
    model: str | None = None
    samples: Samples = field(default_factory=dict)
    peak_memory_mb: float | None = None

    def take(self, samples: Samples) -> None:
        for key, seconds in samples.items():
            self.samples.setdefault(key, []).extend(seconds)


def start_engine(engine: str, weights: Path, plan: Plan) -> Contestant:
    """Raises RuntimeError with the reason where the engine cannot run here."""
    label = f"engine {engine} with {weights.stem}"

    def start() -> Worker:
        return Worker(label, EngineBench, str(weights), engine, plan.device, plan.threads, plan.data)

    worker, cold_s = start(), None
    if worker.facts["made_graphs"]:
        # Making them takes memory too, which is none of the engine's: it is measured in a second start.
        cold_s = worker.ready_s
        worker.stop()
        worker = start()
    graphs = "none needed" if engine == "torch" else "made" if worker.facts["made_graphs"] else "cached"
    return Contestant(worker, Start(worker.ready_s, graphs, cold_s), engine, weights.stem)


def find_peers(
    python: str | None, nanotrack: tuple[str, str] | None, vittrack: str | None
) -> tuple[list[Peer], dict[str, str]]:
    """:func:`~dytrack_ros.benchmark.peers.available_peers`, of the interpreter ``python`` if one is given; raises
    RuntimeError with its reason, or FileNotFoundError."""
    if python is None:
        return available_peers(nanotrack, vittrack)
    worker = Worker(f"peers in {python}", PeerFinder, nanotrack, vittrack, python=python)
    worker.stop()
    return worker.facts


def start_peer(peer: Peer, plan: Plan) -> Contestant:
    """Raises RuntimeError with OpenCV's reason where the tracker cannot be made."""
    worker = Worker(peer.name, PeerBench, peer, plan.threads, plan.data, python=plan.peers_python)
    return Contestant(worker, Start(worker.ready_s, "none needed"), peer.name)


def start_matrix_product(plan: Plan) -> Contestant:
    with _environment(BLAS_THREADS, plan.threads):
        worker = Worker("matrix product", MatrixBench)
    return Contestant(worker, Start(worker.ready_s, "none needed"))


@contextlib.contextmanager
def _environment(name: str, value: int | None) -> Iterator[None]:
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = str(value)
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before


def measure(contestants: Sequence[Contestant], plan: Plan) -> None:
    """Lets everybody measure, one at a time; fills ``samples`` and ``peak_memory_mb``. Shows progress."""
    total = plan.rounds * sum(len(_measurements(contestant, plan, 0)) for contestant in contestants)
    with tqdm(total=total, desc="measuring", unit="turn", leave=False) as bar:
        for number in range(plan.rounds):
            for contestant, measurement in _turns(contestants, plan, number):
                bar.set_postfix_str(contestant.worker.label, refresh=False)
                contestant.take(contestant.worker.ask(*measurement))
                bar.update()
    for contestant in contestants:
        contestant.peak_memory_mb = contestant.worker.peak_memory_mb()


def _turns(contestants: Sequence[Contestant], plan: Plan, number: int) -> Iterator[tuple[Contestant, tuple]]:
    """A round: everybody's first measurement, everybody's second, ...; each round another contestant begins."""
    first = number % len(contestants)
    order = [*contestants[first:], *contestants[:first]]
    waiting = [(contestant, _measurements(contestant, plan, number)) for contestant in order]
    while any(measurements for _, measurements in waiting):
        for contestant, measurements in waiting:
            if measurements:
                yield contestant, measurements.pop(0)


def _measurements(contestant: Contestant, plan: Plan, number: int) -> list[tuple]:
    """What a contestant is asked in round ``number``; the frame sizes last, in the same order for all."""
    if contestant.name is None:
        return [("product", plan.frames)]
    end_to_end = [("end_to_end", size, number, plan.frames) for size in plan.sizes]
    return [("model_only", plan.frames), *end_to_end] if contestant.model else end_to_end
