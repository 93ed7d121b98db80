"""The field's measures over one sequence: boxes (N, 4) as (x, y, w, h), NaN where the target is absent.

Each is a mean over the frames with the target, NaN where there is none.
"""

from __future__ import annotations

import numpy as np

from dytrack_ros.tracking.box import iou

SUCCESS_THRESHOLDS = np.linspace(0, 1, 21)
PRECISION_PX = 20.0
NORMALISED_PRECISION = 0.2
PRECISION_LIMITS_PX = np.arange(51.0)
NORMALISED_PRECISION_LIMITS = np.linspace(0, 0.5, 51)
LEVEL_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def is_present(truth: np.ndarray) -> np.ndarray:
    """Where there is a target: (N,) bool."""
    return ~np.isnan(truth).any(1)


def overlaps(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of every frame in which the target is present."""
    present = is_present(truth)
    # A sum of floats may put equal boxes above 1, and so above the last threshold of success.
    return np.minimum(iou(predicted[present], truth[present]), 1.0)


def success_curve(ious: np.ndarray) -> np.ndarray:
    """The share of frames with an IoU above each of the thresholds 0, 0.05, ... 1: (21,) (Wu et al., OTB, TPAMI 2015)."""
    if not len(ious):
        return np.full(len(SUCCESS_THRESHOLDS), np.nan)
    return (ious[None, :] > SUCCESS_THRESHOLDS[:, None]).mean(1)


def success_auc(ious: np.ndarray) -> float:
    """Area under the success curve: its mean."""
    return float(success_curve(ious).mean())


def success_rate(ious: np.ndarray, threshold: float) -> float:
    """Share of frames with an IoU above ``threshold`` (SR of GOT-10k, TPAMI 2021)."""
    return float((ious > threshold).mean()) if len(ious) else float("nan")


def mean_overlap(ious: np.ndarray) -> float:
    """Mean IoU: GOT-10k's AO where the frame that a tracker starts on is left out."""
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


def precision_curve(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The share of frames whose centre is within each of 0, 1, ... 50 px of the truth's: (51,)."""
    errors = _centre_errors(predicted, truth, normalised=False)
    return np.array([_share_within(errors, limit) for limit in PRECISION_LIMITS_PX])


def normalised_precision_curve(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The same within 0, 0.01, ... 0.5 of the truth's size: (51,)."""
    errors = _centre_errors(predicted, truth, normalised=True)
    return np.array([_share_within(errors, limit) for limit in NORMALISED_PRECISION_LIMITS])


def precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of frames whose centre is within 20 px of the truth's."""
    return _share_within(_centre_errors(predicted, truth, normalised=False), PRECISION_PX)


def normalised_precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of frames whose centre error, in units of the truth's size, is within 0.2 (TrackingNet, ECCV 2018)."""
    return _share_within(_centre_errors(predicted, truth, normalised=True), NORMALISED_PRECISION)


def measures(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """All measures of a sequence by name, each as its benchmark defines it: OTB's and LaSOT's count the first frame,
    GOT-10k's AO and SR do not. ``present`` is the share of frames with the target: success and precision times it are
    what toolkits give that count a frame without the target as missed."""
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


def levels(ious: np.ndarray) -> np.ndarray:
    """The difficulty of frames by the IoU of exit 1 on them, 1 (at least 0.8: the easiest) to 5 (below 0.2); 0 for NaN.

    The paper sorts frames into five levels by exit 1's IoU; the equal fifths are our reading of it.
    """
    fifths = np.searchsorted(LEVEL_EDGES[1:-1], np.nan_to_num(ious), side="right")
    return np.where(np.isnan(ious), 0, len(LEVEL_EDGES) - 1 - fifths)
