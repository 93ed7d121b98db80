"""The contestants of a benchmark and their turns, round by round, so that a drift of the machine affects all alike."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.benchmark.benches import EngineBench, MatrixBench, Samples, Size
from dytrack_ros.benchmark.peers import Peer, PeerBench
from dytrack_ros.benchmark.worker import Worker

# Set for the process of the matrix product only: OpenBLAS reads it when NumPy is imported.
BLAS_THREADS = "OPENBLAS_NUM_THREADS"


@dataclass(frozen=True)
class BenchmarkConfig:
    """``rounds`` in which each contestant has a turn of ``frames`` frames at each of ``sizes``.

    Peers run in the interpreter ``peers_python`` if one is given.
    """

    rounds: int
    frames: int
    sizes: tuple[Size, ...]
    device: str = "auto"
    threads: int | None = None
    data: str | None = None
    peers_python: str | None = None


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process until it can take the first frame.

    ``cold_s`` is the same for a start that also exports the ONNX graphs; None if they were cached or not needed.
    """

    seconds: float
    graphs: str
    cold_s: float | None = None


@dataclass
class Contestant:
    """An engine with a model, a peer (``model`` None) or the matrix product (``name`` None), and its measurements."""

    worker: Worker
    start: Start
    name: str | None = None
    model: str | None = None
    samples: Samples = field(default_factory=dict)
    peak_memory_mb: float | None = None

    def take(self, samples: Samples) -> None:
        for key, seconds in samples.items():
            self.samples.setdefault(key, []).extend(seconds)


def start_engine(engine: str, weights: Path, config: BenchmarkConfig) -> Contestant:
    """Start an engine's process. Raises RuntimeError with the reason if the engine cannot run here."""
    label = f"engine {engine} with {weights.stem}"

    def start() -> Worker:
        return Worker(label, EngineBench, str(weights), engine, config.device, config.threads, config.data)

    worker, cold_s = start(), None
    if worker.facts["made_graphs"]:
        # The export takes memory that the engine does not need: measure memory in a second start.
        cold_s = worker.ready_s
        worker.stop()
        worker = start()
    graphs = "none needed" if engine == "torch" else "made" if worker.facts["made_graphs"] else "cached"
    return Contestant(worker, Start(worker.ready_s, graphs, cold_s), engine, weights.stem)


def start_peer(peer: Peer, config: BenchmarkConfig) -> Contestant:
    """Start a peer's process. Raises RuntimeError with OpenCV's reason if the tracker cannot be made."""
    worker = Worker(peer.name, PeerBench, peer, config.threads, config.data, python=config.peers_python)
    return Contestant(worker, Start(worker.ready_s, "none needed"), peer.name)


def start_matrix_product(config: BenchmarkConfig) -> Contestant:
    with _environment(BLAS_THREADS, config.threads):
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


def measure(contestants: Sequence[Contestant], config: BenchmarkConfig) -> None:
    """Ask all contestants in turn, and fill their ``samples`` and ``peak_memory_mb``. Shows progress."""
    total = config.rounds * sum(len(_measurements(contestant, config, 0)) for contestant in contestants)
    with tqdm(total=total, desc="measuring", unit="turn", leave=False) as bar:
        for number in range(config.rounds):
            for contestant, measurement in _turns(contestants, config, number):
                bar.set_postfix_str(contestant.worker.label, refresh=False)
                contestant.take(contestant.worker.ask(*measurement))
                bar.update()
    for contestant in contestants:
        contestant.peak_memory_mb = contestant.worker.peak_memory_mb()


def _turns(
    contestants: Sequence[Contestant], config: BenchmarkConfig, number: int
) -> Iterator[tuple[Contestant, tuple]]:
    """Yield a round: the first measurement of all, then the second, ...; each round starts with another contestant."""
    first = number % len(contestants)
    order = [*contestants[first:], *contestants[:first]]
    waiting = [(contestant, _measurements(contestant, config, number)) for contestant in order]
    while any(measurements for _, measurements in waiting):
        for contestant, measurements in waiting:
            if measurements:
                yield contestant, measurements.pop(0)


def _measurements(contestant: Contestant, config: BenchmarkConfig, number: int) -> list[tuple]:
    """Return the requests to a contestant in round ``number``; the frame sizes last, in the same order for all."""
    if contestant.name is None:
        return [("product", config.frames)]
    end_to_end = [("end_to_end", size, number, config.frames) for size in config.sizes]
    return [("model_only", config.frames), *end_to_end] if contestant.model else end_to_end
