"""Engines one behind the other: where one fails, the next goes on with the same target."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dytrack_ros.engines.base import StagedEngine
from dytrack_ros.engines.registry import Candidate, Engine, engine_label, load_engine, resolve_engine, substitutes
from dytrack_ros.model.weight_files import load_config, resolve_weights
from dytrack_ros.utils import one_line

Step = Callable[[Engine], Any]

_log = logging.getLogger(__name__)


class FallbackEngine(StagedEngine):
    """See :class:`dytrack_ros.engines.registry.Engine`: one that survives the failure of the engine that computes.

    The next engine is loaded with the same weights, is given the template, the search region and the stages so far,
    and answers instead: that call takes as long as loading does, and nothing of the target is lost. ``name``,
    ``device``, ``precision`` and ``chosen_because`` are those of the engine that computes, ``failures`` says why each
    engine before it was given up.

    The first engine is what ``create_engine`` makes of ``name``, ``device`` and ``precision``; its
    :func:`substitutes` follow. An engine, a GPU or int8 that was asked for must load, what ``auto`` stands for need
    not. ``on_fallback`` is called with a sentence before another engine is loaded, in the thread that uses the engine.
    It may raise to prevent that (a process that shuts down does so): the exception leaves the call.

    Calls out of order and wrong crops are found before an engine is asked. So whatever an engine raises is its failure,
    and so is an answer that is no number. If the last engine fails too, RuntimeError names all causes; the next
    ``set_template`` begins with the first engine again.
    """

    def __init__(
        self,
        name: str,
        weights: str | Path,
        device: str = "auto",
        threads: int | None = None,
        on_fallback: Callable[[str], None] = _log.warning,
        precision: str = "auto",
    ):
        first = resolve_engine(name, device, precision)
        self._weights, self._threads, self._on_fallback = resolve_weights(weights), threads, on_fallback
        super().__init__(load_config(self._weights))
        self._chain = [first, *substitutes(first)]
        self._start_over()
        if name != "auto" or device.startswith("cuda") or precision == "int8":
            self._engine = self._load(self._waiting.pop(0))
        self._ask(lambda engine: None)

    def _take_template(self, template: np.ndarray) -> None:
        kept = template.copy()
        self._ask_and_remember(lambda engine: engine.set_template(kept))

    def _take_search(self, search: np.ndarray) -> None:
        kept = search.copy()
        del self._past[1:]  # all but the template
        self._ask_and_remember(lambda engine: engine.begin(kept))

    def _run_stage(self, position: int) -> float:
        return self._ask_and_remember(_advance)

    def _run_head(self, position: int) -> np.ndarray:
        return self._ask(_locate)

    def _forget(self) -> None:
        super()._forget()
        self._past: list[Step] = []

    def _start_over(self) -> None:
        self._forget()
        self._engine: Engine | None = None
        self._waiting: list[Candidate] = list(self._chain)
        self.failures: tuple[str, ...] = ()

    def _ask_and_remember(self, step: Step) -> Any:
        answer = self._ask(step)
        self._past.append(step)
        return answer

    def _ask(self, step: Step) -> Any:
        """What the engine answers; where it fails, what the first of those waiting answers that does not."""
        failures: list[str] = []
        while True:
            try:
                if self._engine is None:
                    self._load_next()
                answer = step(self._engine)
                break
            except Exception as error:
                failures.append(f"{self._asked} failed: {one_line(error)}")
                if not self._waiting:
                    causes = "; ".join((*self.failures, *failures))
                    self._start_over()
                    raise RuntimeError(f"no engine is left: {causes}") from error
                # Its memory is needed, perhaps: nothing holds on to it, the error's traceback neither.
                self._engine = None
                self._on_fallback(f"{failures[-1]}; {self._waiting[0].name} is loaded instead")
        self._show(self._engine, failures)
        return answer

    def _load_next(self) -> None:
        """Brings the first of those waiting to where the last one has failed."""
        candidate = self._waiting.pop(0)
        self._asked = candidate.name
        self._engine = self._load(candidate)
        for step in self._past:
            step(self._engine)

    def _load(self, candidate: Candidate) -> Engine:
        engine = load_engine(candidate, self._weights, self._threads)
        self._asked = engine_label(engine)
        return engine

    def _show(self, engine: Engine, failures: list[str]) -> None:
        if failures:
            self.failures += tuple(failures)
            engine.chosen_because = "; ".join(self.failures)
        self.name, self.device, self.chosen_because = engine.name, engine.device, engine.chosen_because
        self.precision = getattr(engine, "precision", "auto")


def _advance(engine: Engine) -> float:
    score = engine.advance()
    if not math.isfinite(score):
        raise FloatingPointError(f"it predicts an IoU of {score}")
    return score


def _locate(engine: Engine) -> np.ndarray:
    box = engine.locate()
    if not np.isfinite(box).all():
        raise FloatingPointError(f"it puts the box at {box}")
    return box
