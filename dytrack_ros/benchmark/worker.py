"""The processes that measure: one for each engine with its model and for each peer, so that none shares memory or threads
with another. They work only when asked, one at a time."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple

import cv2
import numpy as np

from dytrack_ros.benchmark.frames import open_frames
from dytrack_ros.benchmark.machine import peak_memory_mb
from dytrack_ros.benchmark.peers import Peer
from dytrack_ros.benchmark.python import OtherPython
from dytrack_ros.engines.registry import Engine
from dytrack_ros.engines.tensorrt.cuda_driver import device_name
from dytrack_ros.policies import FixedExit
from dytrack_ros.tracking import DyTracker
from dytrack_ros.tracking.box import Box, clip_box

Size = tuple[int, int]  # of a frame: width, height
Key = tuple  # what was measured, e.g. ("stage", 1) or ((640, 480), "exit", 3)
Samples = dict[Key, list[float]]  # seconds

UNMEASURED = 1  # frames at the start of a turn, in which caches and clocks recover from the others' work
MATRIX_SIDE = 1024
STOP_TIMEOUT_S = 5.0


class EngineBench:
    """Measures one engine with one model."""

    def __init__(self, weights: str, engine: str, device: str, threads: int | None, data: str | None):
        self._tracker = DyTracker.from_pretrained(weights, engine=engine, device=device, threads=threads)
        self._frames = functools.cache(functools.partial(open_frames, data=data))
        self._random = np.random.default_rng(0)

    def facts(self) -> dict:
        device = self._tracker.engine.device
        return {
            "device": device,
            "device_name": device_name(int(device.partition(":")[2] or 0)) if device.startswith("cuda") else None,
            # The one module that makes graphs: an engine that finds them in the cache never loads it.
            "made_graphs": "dytrack_ros.engines.onnx_export" in sys.modules,
        }

    def model_only(self, frames: int) -> Samples:
        """Every exit of ``frames`` crops of noise, the exits in turn: each stage (the first with ``begin``), box head and
        exit, and the template."""
        engine, samples = self._tracker.engine, defaultdict(list)
        for number in range(UNMEASURED + frames):
            if number == UNMEASURED:
                samples.clear()
            template = self._noise(engine.template_size)
            started = time.perf_counter()
            engine.set_template(template)
            samples["template",].append(time.perf_counter() - started)
            search = self._noise(engine.search_size)
            for exit_index in range(1, engine.exit_count + 1):
                stages, head = _run_to_exit(engine, search, exit_index)
                for stage, seconds in enumerate(stages, start=1):
                    samples["stage", stage].append(seconds)
                samples["head", exit_index].append(head)
                samples["exit", exit_index].append(sum(stages) + head)
        return dict(samples)

    def end_to_end(self, size: Size, turn: int, frames: int) -> Samples:
        """``initialize``, then ``track`` on ``frames`` frames with every exit; the target is always where it was."""
        tracker, samples = self._tracker, defaultdict(list)
        clip = self._frames(size).clip(turn, 1 + UNMEASURED + frames)
        image, box = next(clip)
        samples[size, "initialize"].append(_seconds(tracker.initialize, image, box))
        exits = range(1, tracker.exit_count + 1)
        policies = [FixedExit(exit_index) for exit_index in exits]
        for number, (image, next_box) in enumerate(clip):
            for exit_index, policy in zip(exits, policies, strict=True):
                tracker.box = box
                tracker.set_policy(policy)
                seconds = _seconds(tracker.track, image)
                if number >= UNMEASURED:
                    samples[size, "exit", exit_index].append(seconds)
            box = next_box
        return dict(samples)

    def _noise(self, size: int) -> np.ndarray:
        return self._random.integers(0, 256, (size, size, 3), np.uint8)


def _run_to_exit(engine: Engine, search: np.ndarray, exit_index: int) -> tuple[list[float], float]:
    """Seconds of each stage up to an exit (1-based) and of its box head."""
    stages = []
    started = time.perf_counter()
    engine.begin(search)
    for _ in range(exit_index):
        engine.advance()
        ended = time.perf_counter()
        stages.append(ended - started)
        started = ended
    engine.locate()
    return stages, time.perf_counter() - started


def _seconds(call: Callable, *arguments) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


class PeerBench:
    """Measures one of OpenCV's trackers."""

    def __init__(self, peer: Peer, threads: int | None, data: str | None):
        if threads:
            cv2.setNumThreads(threads)
        self._peer = peer
        self._frames = functools.cache(functools.partial(open_frames, data=data))
        peer.create()  # now, so that unfit files are found before anything is measured

    def facts(self) -> dict:
        return {"device": "cpu", "device_name": None, "made_graphs": False, "opencv": cv2.__version__}

    def end_to_end(self, size: Size, turn: int, frames: int) -> Samples:
        """As :meth:`EngineBench.end_to_end`. After a loss the tracker is initialised anew, unmeasured; ``lost`` has a 1
        for each measured frame that it lost, a 0 for each other."""
        samples = defaultdict(list)
        clip = self._frames(size).clip(turn, 1 + UNMEASURED + frames)
        image, box = next(clip)
        tracker = self._peer.create()
        samples[size, "initialize"].append(_seconds(tracker.init, image, _inside(image, box)))
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


def _inside(image: np.ndarray, box: Box) -> tuple[int, ...]:
    """OpenCV's trackers take only boxes of whole pixels inside the image."""
    height, width = image.shape[:2]
    return tuple(map(int, clip_box(box, width, height)))


class MatrixBench:
    """Measures NumPy's product of two large fp32 matrices: about what this CPU can do at most in fp32."""

    macs = MATRIX_SIDE**3

    def __init__(self):
        random = np.random.default_rng(0)
        self._factors = [random.random((MATRIX_SIDE, MATRIX_SIDE), np.float32) for _ in range(2)]

    def facts(self) -> dict:
        return {"device": "cpu", "device_name": None, "made_graphs": False}

    def product(self, frames: int) -> Samples:
        np.matmul(*self._factors)
        return {("product",): [_seconds(np.matmul, *self._factors) for _ in range(frames)]}


class Ready(NamedTuple):
    """What a process says when it is ready: its bench's facts, and its memory before the bench was made, in MB."""

    facts: dict
    memory_before_mb: float | None


class Worker:
    """A process of its own with one bench in it, of the interpreter ``python`` if one is given. Raises RuntimeError with
    the reason where the bench cannot be made, FileNotFoundError where there is no such interpreter.

    ``ready_s`` are the seconds from starting the process until the first frame could be taken.
    """

    def __init__(self, label: str, make_bench: Callable, *arguments, python: str | None = None):
        self.label = label
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        started = time.perf_counter()
        if python is None:
            self._process = context.Process(target=serve, args=(theirs, make_bench, arguments), daemon=True)
            self._process.start()
        else:
            self._process = OtherPython(python, theirs)
        theirs.close()
        try:
            if python is not None:
                self._send((make_bench, arguments))
            self.facts, self.memory_before_mb = self._receive()
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - started

    def ask(self, measurement: str, *arguments):
        """What the bench's method of that name returns; waits for it. Raises RuntimeError where it fails."""
        self._send((measurement, arguments))
        return self._receive()

    def peak_memory_mb(self) -> float | None:
        return self.ask("peak_memory_mb")

    def stop(self) -> None:
        self._connection.close()  # which ends it once it has finished what it does
        self._process.join(STOP_TIMEOUT_S)
        self._process.terminate()
        self._process.join()

    def _send(self, request: tuple) -> None:
        with contextlib.suppress(OSError):  # the process has ended: said when its answer is awaited
            self._connection.send(request)

    def _receive(self):
        try:
            is_answer, value = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RuntimeError(f"{self.label}: its process has ended (exit code {self._process.exitcode})") from None
        if not is_answer:
            raise RuntimeError(f"{self.label}: {value}")
        return value


def serve(connection: Connection, make_bench: Callable, arguments: tuple) -> None:
    """What the process does: answers each request with (True, answer) or (False, what went wrong)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    memory_before_mb = peak_memory_mb()
    try:
        bench = make_bench(*arguments)
        connection.send((True, Ready(bench.facts(), memory_before_mb)))
    except Exception as error:
        connection.send((False, _in_words(error)))
        return
    while True:
        try:
            measurement, its_arguments = connection.recv()
        except EOFError:
            return
        try:
            is_own = measurement == "peak_memory_mb"
            connection.send((True, peak_memory_mb() if is_own else getattr(bench, measurement)(*its_arguments)))
        except Exception as error:
            connection.send((False, _in_words(error)))


def _in_words(error: Exception) -> str:
    text = str(error)
    return (
        text if isinstance(error, ValueError | ImportError | FileNotFoundError) else f"{type(error).__name__}: {text}"
    )
