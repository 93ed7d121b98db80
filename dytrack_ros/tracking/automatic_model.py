"""Choose one of the shipped models by what their exits cost on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dytrack_ros.engines.cache import cache_folder, cached
from dytrack_ros.engines.registry import resolve_engine
from dytrack_ros.model.weight_files import default_model, resolve_weights, shipped_models
from dytrack_ros.policies import ExitCosts
from dytrack_ros.policies.calibration import Calibration, calibration_of
from dytrack_ros.policies.model_choice import ModelChoice, choose_model
from dytrack_ros.tracking.tracker import DyTracker
from dytrack_ros.utils import cpu_facts, one_line
from dytrack_ros.version import __version__

CACHE_KIND = "costs"
COSTS_FILE = "exit_costs.json"
# A model that now needs less than this part of its cached time was measured on a busy machine.
BUSY = 0.7

_log = logging.getLogger(__name__)


def choose_automatically(
    budget_s: float | None,
    deadline_s: float | None = None,
    *,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    on_failure: Callable[[str], None] = _log.warning,
) -> ModelChoice:
    """Return the shipped model with the highest expected accuracy within the limits on this machine, and the reason.

    At the first call with an engine each model is loaded and measured for about a second; the costs are cached by
    processor, engine, precision, threads and weights.

    Args:
        budget_s, deadline_s: as for :func:`dytrack_ros.policies.model_choice.choose_model`.
        engine, device, threads, precision: as for :meth:`DyTracker.from_pretrained`.
        on_failure: called with a sentence for each model that cannot be compared. It may raise to end the choice.

    Raises FileNotFoundError if no model is shipped, and ValueError for an unknown engine, device or precision.
    """
    choice = resolve_engine(engine, device, precision)
    settings = {
        "version": __version__,
        "engine": choice.name,
        "device": device,
        "precision": precision,
        "threads": threads,
        **cpu_facts(),
    }
    models: dict[str, tuple[Calibration, ExitCosts]] = {}
    for name in shipped_models():
        weights = resolve_weights(name)
        calibration, note = calibration_of(weights)
        try:
            if calibration is None or calibration.asked_mix is None:
                raise ValueError(f"{note} has no mix of exits; make it again with dytrack calibrate")
            models[name] = calibration, exit_costs_of(weights, calibration.weights_sha256, settings)
        except Exception as error:
            on_failure(f"model {name} is not compared: {one_line(error)}")
    if not models:
        return ModelChoice(default_model(), "default, because no shipped model could be compared")
    return choose_model(models, budget_s, deadline_s)


def exit_costs_of(weights: Path, digest: str, settings: Mapping[str, Any]) -> ExitCosts:
    """Return the exit costs of a model from the cache, where they are measured first if they are missing.

    Args:
        weights: the weights file.
        digest: its SHA-256.
        settings: all that the costs depend on besides; ``engine``, ``device``, ``threads`` and ``precision`` are those
            of :meth:`DyTracker.from_pretrained`.

    Raises RuntimeError if the model cannot be measured.
    """
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def measure(folder: Path) -> None:
        options = {name: settings[name] for name in ("engine", "device", "threads", "precision")}
        try:
            costs = DyTracker.from_pretrained(weights, **options).exit_costs()
        except Exception as error:  # not an OSError, by which the cache would seem unwritable
            raise RuntimeError(one_line(error)) from error
        facts = {"stages": costs.stages, "head": costs.head, "weights": weights.name, **settings}
        (folder / COSTS_FILE).write_text(json.dumps(facts, indent=1) + "\n")

    with cached(CACHE_KIND, f"{digest[:32]}-{key[:32]}", measure, _read) as folder:
        return _read(folder)


def forget_if_busy(choice: ModelChoice, costs: ExitCosts) -> bool:
    """Remove all cached costs if those of the chosen model exceed its present ``costs`` by far; return whether."""
    is_outdated = costs.answer(1) < BUSY * choice.first_exit_s
    if is_outdated:
        shutil.rmtree(cache_folder(CACHE_KIND), ignore_errors=True)
    return is_outdated


def _read(folder: Path) -> ExitCosts:
    try:
        facts = json.loads((folder / COSTS_FILE).read_text())
        return ExitCosts(tuple(facts["stages"]), float(facts["head"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} holds no exit costs ({error})") from None
