"""The contestants of a benchmark and their turns, round by round, so that a drift of the machine affects all alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dytrack_ros.benchmark.benches import EngineBench, Samples, Size
from dytrack_ros.benchmark.peers import Peer, PeerBench
from dytrack_ros.benchmark.worker import Worker


@dataclass(frozen=True)
class BenchmarkConfig:
    """``rounds`` in which each contestant has a turn of ``frames`` frames at each of ``sizes``."""

    rounds: int
    frames: int
    sizes: tuple[Size, ...]
    device: str = "auto"
    threads: int | None = None
    precision: str = "auto"


@dataclass
class Contestant:
    """An engine with a model, or a peer (``model`` None), and its measurements."""

    worker: Worker
    name: str
    model: str | None = None
    samples: Samples = field(default_factory=dict)
    peak_memory_mb: float | None = None

    def take(self, samples: Samples) -> None:
        for key, seconds in samples.items():
            self.samples.setdefault(key, []).extend(seconds)


def start_engine(engine: str, weights: Path, config: BenchmarkConfig) -> Contestant:
    """Start an engine's process. Raises RuntimeError with the reason if the engine cannot run here."""
    label = f"engine {engine} with {weights.stem}"
    worker = Worker(label, EngineBench, str(weights), engine, config.device, config.threads, config.precision)
    return Contestant(worker, engine, weights.stem)


def start_peer(peer: Peer, config: BenchmarkConfig) -> Contestant:
    """Start a peer's process. Raises RuntimeError with OpenCV's reason if the tracker cannot be made."""
    return Contestant(Worker(peer.name, PeerBench, peer, config.threads), peer.name)


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
    end_to_end = [("end_to_end", size, number, config.frames) for size in config.sizes]
    return [("model_only", config.frames), *end_to_end] if contestant.model else end_to_end
