"""Switches to the next engine when one fails, and keeps the target."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dytrack_ros.engines.base import Engine
from dytrack_ros.engines.registry import EngineChoice, load_engine, resolve_engine, substitutes
from dytrack_ros.model.weight_files import load_config, resolve_weights
from dytrack_ros.utils import one_line

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class FallbackEngine(Engine):
    """An engine that delegates to another one, and replaces it when it fails.

    The replacement is loaded with the same weights and repeats the calls of the current frame (template, search region,
    stages); the failed call is then answered by it. That call takes as long as loading does. ``name``, ``device``,
    ``precision`` and ``chosen_because`` are those of the engine in use.

    A failure is any exception of an engine, and an answer that is not a number. Calls out of order and wrong crops are
    errors of the caller: they are found before the engine is called. If the last engine fails too, RuntimeError names
    all causes, and the next ``set_template`` starts with the first engine again.

    Args:
        name, weights, device, threads, precision: as in :func:`dytrack_ros.engines.create_engine`, which gives the
            first engine; :func:`dytrack_ros.engines.registry.substitutes` gives the others. The first must load if an
            engine, a CUDA device or int8 was asked for by name.
        on_fallback: called with a sentence before another engine is loaded, in the thread that uses the engine. It may
            raise to prevent that, as a process does that is shutting down: the exception leaves the call.
    """

    _engine: Engine | None
    _waiting: list[EngineChoice]

    def __init__(
        self,
        name: str,
        weights: str | Path,
        device: str = "auto",
        threads: int | None = None,
        on_fallback: Callable[[str], None] = _log.warning,
        precision: str = "auto",
    ) -> None:
        first = resolve_engine(name, device, precision)
        self._weights, self._threads, self._on_fallback = resolve_weights(weights), threads, on_fallback
        self._choices = [first, *substitutes(first)]
        super().__init__(load_config(self._weights))
        self._start_over()
        if name != "auto" or device.startswith("cuda") or precision == "int8":
            self._load_next()
        self._ask(lambda engine: None)

    def _take_template(self, template: NDArray[np.uint8]) -> None:
        own = template.copy()
        self._ask_and_record(lambda engine: engine.set_template(own))

    def _take_search(self, search: NDArray[np.uint8]) -> None:
        own = search.copy()
        del self._calls[1:]  # all but the template
        self._ask_and_record(lambda engine: engine.begin(own))

    def _run_stage(self, position: int) -> float:
        return self._ask_and_record(_advance)

    def _run_head(self, position: int) -> NDArray[np.float32]:
        return self._ask(_heat_maps)

    def _forget(self) -> None:
        super()._forget()
        self._calls: list[Callable[[Engine], object]] = []

    def _start_over(self) -> None:
        self._forget()
        self._engine = None
        self._waiting = list(self._choices)
        self.failures = ()

    def _ask_and_record(self, call: Callable[[Engine], Answer]) -> Answer:
        answer = self._ask(call)
        self._calls.append(call)
        return answer

    def _ask(self, call: Callable[[Engine], Answer]) -> Answer:
        """Return the engine's answer to a call; where it fails, that of the first waiting engine that does not."""
        failures: list[str] = []
        while True:
            engine: Engine | None = None
            try:
                engine = self._engine or self._load_next()
                answer = call(engine)
            except Exception as error:
                failures.append(f"{self._tried} failed: {one_line(error)}")
                if not self._waiting:
                    causes = "; ".join((*self.failures, *failures))
                    self._start_over()
                    raise RuntimeError(f"no engine is left: {causes}") from error
                # Free its memory, which the next engine may need: no reference may stay, not even in the traceback.
                self._engine = engine = None
                self._on_fallback(f"{failures[-1]}; {self._waiting[0].name} is loaded instead")
                continue
            if failures:
                self.failures += tuple(failures)
                engine.chosen_because = "; ".join(self.failures)
            self.name, self.device, self.precision = engine.name, engine.device, engine.precision
            self.chosen_because = engine.chosen_because
            return answer

    def _load_next(self) -> Engine:
        """Load the first waiting engine and repeat the calls of the current frame."""
        choice = self._waiting.pop(0)
        self._tried = choice.name
        self._engine = engine = load_engine(choice, self._weights, self._threads)
        self._tried = engine.label
        for call in self._calls:
            call(engine)
        return engine


def _advance(engine: Engine) -> float:
    score = engine.advance()
    if not math.isfinite(score):
        raise FloatingPointError(f"its predicted IoU is {score}")
    return score


def _heat_maps(engine: Engine) -> NDArray[np.float32]:
    heat_maps = engine.heat_maps()
    if np.isnan(heat_maps).any():
        raise FloatingPointError("its heat maps contain NaN")
    return heat_maps
