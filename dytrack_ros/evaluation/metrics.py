"""Accuracy measures of one-pass evaluation. Boxes are (N, 4) as (x, y, w, h) in pixels; absent targets have NaN.

Each measure is a mean over the frames of one sequence that show the target; without such a frame it is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dytrack_ros.tracking.box import iou

SUCCESS_THRESHOLDS = np.linspace(0, 1, 21)
PRECISION_PX = 20.0
NORMALISED_PRECISION = 0.2
BOOTSTRAP_SAMPLES = 10_000


def is_present(truth: np.ndarray) -> np.ndarray:
    """Return (N,) bool: whether the frame shows the target."""
    return ~np.isnan(truth).any(1)


def overlaps(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the IoU (M,) of the M frames that show the target."""
    present = is_present(truth)
    # Rounding may give equal boxes an IoU above 1, which would exceed the last success threshold.
    return np.minimum(iou(predicted[present], truth[present]), 1.0)


def success_curve(ious: np.ndarray) -> np.ndarray:
    """Return the share of frames with an IoU above 0, 0.05, ... 1: (21,) (Wu et al., OTB, TPAMI 2015)."""
    if not len(ious):
        return np.full(len(SUCCESS_THRESHOLDS), np.nan)
    return (ious[None, :] > SUCCESS_THRESHOLDS[:, None]).mean(1)


def success_auc(ious: np.ndarray) -> float:
    """Return the area under the success curve, in [0, 1]."""
    return float(success_curve(ious).mean())


def success_rate(ious: np.ndarray, threshold: float) -> float:
    """Return the share of frames with an IoU above ``threshold`` (SR of GOT-10k, TPAMI 2021)."""
    return float((ious > threshold).mean()) if len(ious) else float("nan")


def mean_overlap(ious: np.ndarray) -> float:
    """Return the mean IoU. Without the init frame this is AO of GOT-10k."""
    return float(ious.mean()) if len(ious) else float("nan")


def _centre_errors(predicted: np.ndarray, truth: np.ndarray, normalised: bool) -> np.ndarray:
    present = is_present(truth)
    predicted, truth = predicted[present], truth[present]
    error = (predicted[:, :2] + predicted[:, 2:] / 2) - (truth[:, :2] + truth[:, 2:] / 2)
    if normalised:
        error = error / np.maximum(truth[:, 2:], 1e-9)
    return np.hypot(*error.T)


def _share_within(errors: np.ndarray, limit: float) -> float:
    return float((errors <= limit).mean()) if len(errors) else float("nan")


def precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of frames with a centre error of at most 20 px."""
    return _share_within(_centre_errors(predicted, truth, normalised=False), PRECISION_PX)


def normalised_precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of frames with a centre error of at most 0.2 target sizes (TrackingNet, ECCV 2018)."""
    return _share_within(_centre_errors(predicted, truth, normalised=True), NORMALISED_PRECISION)


def measures(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return all measures of a sequence by name, each as its benchmark defines it.

    Measures of OTB and LaSOT count the init frame; AO and SR of GOT-10k do not. ``present`` is the share of frames that
    show the target. Toolkits that count every other frame as a miss report success and precision times ``present``.
    """
    ious = overlaps(predicted, truth)
    after_start = overlaps(predicted[1:], truth[1:])
    return {
        "success_auc": success_auc(ious),
        "mean_iou": mean_overlap(ious),
        "precision": precision(predicted, truth),
        "normalised_precision": normalised_precision(predicted, truth),
        "ao": mean_overlap(after_start),
        "sr50": success_rate(after_start, 0.5),
        "sr75": success_rate(after_start, 0.75),
        "present": float(is_present(truth).mean()),
    }


def mean_interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap percentile interval of the mean: resamples ``values`` with replacement, NaN left out.

    With one value a sequence it tells how far a mean over sequences depends on the choice of sequences. The resampling
    is seeded, so equal values give an equal interval. Without values both ends are NaN.
    """
    known = np.array([value for value in values if not np.isnan(value)], float)
    if not len(known):
        return float("nan"), float("nan")
    draws = np.random.default_rng(0).integers(0, len(known), (BOOTSTRAP_SAMPLES, len(known)))
    low, high = np.quantile(known[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
