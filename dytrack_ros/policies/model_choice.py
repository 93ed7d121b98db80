"""Choose among models by their calibrated accuracy within the time of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dytrack_ros.policies.calibration import Calibration, ExitMix
from dytrack_ros.policies.exit_policy import ExitCosts


class ModelChoice(NamedTuple):
    """The name of a model, the reason, for logs, and the seconds of its first exit (0: not known)."""

    name: str
    reason: str
    first_exit_s: float = 0.0


class Expectation(NamedTuple):
    """Mean IoU and mean seconds of a frame that a calibration and exit costs predict."""

    iou: float
    seconds: float

    def __str__(self) -> str:
        return f"IoU {self.iou:.3f} in {self.seconds * 1e3:.1f} ms"


def expectation(
    calibration: Calibration, costs: ExitCosts, budget_s: float | None, deadline_s: float | None = None
) -> Expectation | None:
    """Predict the default thresholds of a model, lowered until the limits hold.

    Args:
        calibration: with ``asked_mix``.
        costs: of the same exits on this machine.
        budget_s: limit on the mean seconds of a frame; None: no limit.
        deadline_s: limit on the seconds of every frame; None: no limit.

    Returns:
        None if the first exit alone exceeds a limit.
    """
    assert calibration.asked_mix is not None
    most_s = _mean_s(calibration.asked_mix, costs)
    if budget_s is not None:
        most_s = min(most_s, budget_s)
    reachable = [
        Expectation(mix.iou, seconds)
        for mix in (calibration.asked_mix, *calibration.mixes)
        if (seconds := _mean_s(mix, costs)) <= most_s and (deadline_s is None or _longest_s(mix, costs) <= deadline_s)
    ]
    return max(reachable, key=lambda each: each.seconds, default=None)


def choose_model(
    models: Mapping[str, tuple[Calibration, ExitCosts]], budget_s: float | None, deadline_s: float | None = None
) -> ModelChoice:
    """Return the model with the highest expected IoU within the limits; if none keeps them, that with the fastest exit.

    Args:
        models: by name, calibrations with ``asked_mix``, measured on the same sequences, and costs on this machine.
        budget_s, deadline_s: as for :func:`expectation`.

    Raises ValueError without models.
    """
    limit = "without a limit" if budget_s is None else f"within {budget_s * 1e3:.1f} ms"
    found = {name: expectation(*model, budget_s, deadline_s) for name, model in models.items()}
    fitting = {name: expected for name, expected in found.items() if expected is not None}
    words = {name: str(fitting.get(name, f"first exit {models[name][1].answer(1) * 1e3:.1f} ms")) for name in models}
    if fitting:
        chosen = max(fitting, key=lambda name: (fitting[name].iou, -fitting[name].seconds))
        what = f"best expected accuracy {limit}"
    else:
        chosen = min(models, key=lambda name: models[name][1].answer(1))
        what = f"fastest, none answers {limit}"
    others = "; ".join(f"{name}: {words[name]}" for name in models if name != chosen)
    reason = f"{what}: {words[chosen]}" + (f" ({others})" if others else "")
    return ModelChoice(chosen, reason, models[chosen][1].answer(1))


def _mean_s(mix: ExitMix, costs: ExitCosts) -> float:
    return sum(share * cost for share, cost in zip(mix.shares, costs.answers, strict=True))


def _longest_s(mix: ExitMix, costs: ExitCosts) -> float:
    """Seconds of the deepest exit that the mix uses."""
    return max(cost for share, cost in zip(mix.shares, costs.answers, strict=True) if share > 0)
